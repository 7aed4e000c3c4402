// Package seal owns secrets at rest: AES-256-GCM (NIST SP 800-38D) under a key that is not in the database. Every service that
// must get a secret back (a signing key, a webhook's secret) uses it; what only has to be compared is hashed instead.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
)

// Seal encrypts and decrypts. It is safe for concurrent use.
type Seal struct{ aead cipher.AEAD }

// New takes the key as 32 bytes in base64.
func New(encoded string) (*Seal, error) {
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) != 32 {
		return nil, errors.New("seal-key: is not 32 bytes in base64; make one with: head -c 32 /dev/urandom | base64")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal-key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("seal-key: %w", err)
	}
	return &Seal{aead: aead}, nil
}

// Close seals a secret; name is bound to it, so that one sealed secret cannot stand in for another.
func (s *Seal) Close(name string, secret []byte) []byte {
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails: see crypto/rand
	return s.aead.Seal(nonce, nonce, secret, []byte(name))
}

// ErrKey says that a seal was closed with another key, or for another name.
var ErrKey = errors.New("the seal does not open: the seal key is not the one it was closed with")

// Open is the reverse of Close.
func (s *Seal) Open(name string, sealed []byte) ([]byte, error) {
	size := s.aead.NonceSize()
	if len(sealed) < size {
		return nil, errors.New("the sealed secret is cut short")
	}
	secret, err := s.aead.Open(nil, sealed[:size], sealed[size:], []byte(name))
	if err != nil {
		return nil, ErrKey
	}
	return secret, nil
}
