// Package password owns what a password must be and how it is kept: hashed with argon2id (RFC 9106), in the PHC string format.
//
// The rules are those of NIST SP 800-63B-4, section 3.1.1.2, for a password that may be the only factor: at least 15
// characters, no rules of composition, none that are commonly used or name the person or the service. Only identity's app
// folder imports it. Everything is safe for concurrent use.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// The bounds of a password's length, in characters (Unicode code points) after normalization.
const (
	MinLength = 15
	MaxLength = 256
)

//go:embed common.txt
var commonList string

// Check says what is wrong with a password, or returns nil. personal are names and addresses of the person, and of where the
// password is for.
func Check(password string, personal ...string) error {
	text := norm.NFKC.String(password)
	length := utf8.RuneCountInString(text)
	switch {
	case !utf8.ValidString(password) || strings.ContainsFunc(text, unicode.IsControl):
		return errors.New("contains control characters or is not UTF-8")
	case length < MinLength:
		return fmt.Errorf("has %d characters; want at least %d, for example several words", length, MinLength)
	case length > MaxLength:
		return fmt.Errorf("has %d characters; at most %d are taken", length, MaxLength)
	}
	lower := strings.ToLower(text)
	for _, name := range personal {
		for _, part := range strings.FieldsFunc(strings.ToLower(norm.NFKC.String(name)), separates) {
			if utf8.RuneCountInString(part) > 4 && strings.Contains(lower, part) {
				return fmt.Errorf("contains %q, which is part of your name or address or of what the password is for", part)
			}
		}
	}
	if guessable(lower) {
		return errors.New("is one of the most common passwords, or a repetition or sequence; choose another")
	}
	return nil
}

func separates(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// guessable says whether a password in lower case is built of nothing but common passwords, repetitions and sequences.
func guessable(lower string) bool {
	rest := strings.Map(func(r rune) rune {
		if separates(r) {
			return -1
		}
		return r
	}, lower)
	if len([]rune(rest)) < 4 {
		return distinct(lower) < 5
	}
	for common := range strings.Lines(commonList) { // the longest first
		rest = strings.ReplaceAll(rest, strings.TrimSpace(common), "")
	}
	return distinct(rest) < 5 || sequence(rest)
}

func distinct(text string) int {
	seen := map[rune]bool{}
	for _, r := range text {
		seen[r] = true
	}
	return len(seen)
}

// sequence says whether all but a few characters follow one another, as in abcdef and 987654.
func sequence(text string) bool {
	runes := []rune(text)
	steps := 0
	for i := 1; i < len(runes); i++ {
		if d := runes[i] - runes[i-1]; d == 1 || d == -1 || d == 0 {
			steps++
		}
	}
	return len(runes)-1-steps < 4
}

// The costs of argon2id: a configuration of equal strength to RFC 9106's for machines with less memory (OWASP).
const (
	passes    = 2
	memory    = 19 << 10 // KiB
	lanes     = 1
	hashBytes = 32
	saltBytes = 16
)

// Hasher hashes and compares, a few at a time, so that a flood of attempts does not take all memory.
type Hasher struct {
	slots chan struct{}
	// unknown is compared with where there is no password, so that the time tells nothing.
	unknown string
}

// NewHasher returns a hasher.
func NewHasher() *Hasher {
	h := &Hasher{slots: make(chan struct{}, max(2, runtime.NumCPU()))}
	h.unknown = encode(make([]byte, saltBytes), make([]byte, hashBytes))
	return h
}

// Hash returns a password's hash in the PHC string format, with a random salt.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails: see crypto/rand
	key, err := h.derive(ctx, password, salt)
	return encode(salt, key), err
}

// Matches says whether the password is that of a hash. An empty hash matches nothing, and takes as long.
func (h *Hasher) Matches(ctx context.Context, hash, password string) (bool, error) {
	known := hash != ""
	if !known {
		hash = h.unknown
	}
	salt, want, err := decode(hash)
	if err != nil {
		return false, err
	}
	key, err := h.derive(ctx, password, salt)
	return err == nil && subtle.ConstantTimeCompare(key, want) == 1 && known, err
}

func (h *Hasher) derive(ctx context.Context, password string, salt []byte) ([]byte, error) {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("hash password: %w", ctx.Err())
	}
	defer func() { <-h.slots }()
	if len(password) > 4*MaxLength {
		password = password[:4*MaxLength] // no password is that long: it cannot match
	}
	return argon2.IDKey([]byte(norm.NFKC.String(password)), salt, passes, memory, lanes, hashBytes), nil
}

var header = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, memory, passes, lanes)

func encode(salt, key []byte) string {
	return header + base64.RawStdEncoding.EncodeToString(salt) + "$" + base64.RawStdEncoding.EncodeToString(key)
}

func decode(hash string) (salt, key []byte, err error) {
	rest, known := strings.CutPrefix(hash, header)
	first, second, found := strings.Cut(rest, "$")
	if !known || !found {
		return nil, nil, errors.New("a stored password hash is not in the expected form")
	}
	if salt, err = base64.RawStdEncoding.DecodeString(first); err == nil {
		key, err = base64.RawStdEncoding.DecodeString(second)
	}
	if err != nil || len(key) != hashBytes {
		return nil, nil, errors.New("a stored password hash is not in the expected form")
	}
	return salt, key, nil
}
