package engine

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// secretBytes is the strength of a generated secret: 256 bits.
const secretBytes = 32

// secret is a generated password, kept in a file that its owner alone can read (0600).
type secret string

// keptSecret reads the secret kept in path, generating it first if there is none.
func keptSecret(path string) (secret, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newSecret(path)
	}
	if err != nil {
		return "", fmt.Errorf("read the generated password: %w", err)
	}
	kept := strings.TrimSpace(string(content))
	if kept == "" {
		return "", fmt.Errorf("the file of the generated password, %s, is empty: restore it, the data cannot be opened without it", path)
	}
	return secret(kept), nil
}

func newSecret(path string) (secret, error) {
	random := make([]byte, secretBytes)
	if _, err := rand.Read(random); err != nil {
		return "", fmt.Errorf("generate a password: %w", err)
	}
	generated := secret(base64.RawURLEncoding.EncodeToString(random))
	if err := writeDurably(path, string(generated)+"\n"); err != nil {
		return "", fmt.Errorf("keep the generated password: %w", err)
	}
	return generated, nil
}

// derive makes the password of one role from the secret (HMAC-SHA256, RFC 2104): stable over restarts, with nothing to
// keep beside the secret itself.
func (s secret) derive(role string) string {
	mac := hmac.New(sha256.New, []byte(s))
	mac.Write([]byte("role " + role))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// writeDurably writes the file as a whole or not at all, readable by its owner alone.
func writeDurably(path, content string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_, writeErr := file.WriteString(content)
	if err := errors.Join(writeErr, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
