package document

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// packedPrefix begins a document that is given compressed: a data URL (RFC 2397) of gzip (RFC 6713).
const packedPrefix = "data:application/gzip;base64,"

// Unpack returns the document that a specification gives: itself, or compressed in a data URL. Large documents are given so
// because a request and a message have bounds that they may not have.
func Unpack(given string) (string, error) {
	encoded, packed := strings.CutPrefix(given, packedPrefix)
	if !packed {
		if strings.HasPrefix(given, "data:") {
			return "", invalid(fmt.Sprintf("is a data URL that does not begin with %q", packedPrefix))
		}
		return given, nil
	}
	compressed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", invalid("is a data URL with content that is not base64: " + err.Error())
	}
	text, err := Decompress(compressed)
	if errors.Is(err, errTooLong) {
		return "", tooLarge(MaxBytes + 1)
	}
	if err != nil {
		return "", invalid("is a data URL with content that is not gzip: " + err.Error())
	}
	return text, nil
}

// Pack is the reverse of Unpack for a document that is larger than threshold bytes; a smaller one is given as it is.
func Pack(text string, threshold int) (string, error) {
	if len(text) <= threshold {
		return text, nil
	}
	compressed, err := Compress(text)
	return packedPrefix + base64.StdEncoding.EncodeToString(compressed), err
}

// Compress returns a text compressed with gzip; the same text gives the same bytes.
func Compress(text string) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return b.Bytes(), nil
}

var errTooLong = errors.New("the text is too long")

// Decompress is the reverse of Compress, for a text of at most MaxBytes.
func Decompress(compressed []byte) (string, error) {
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return "", fmt.Errorf("decompress: %w", err)
	}
	var b strings.Builder
	n, err := io.Copy(&b, io.LimitReader(r, MaxBytes+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("decompress: %w", err)
	case n > MaxBytes:
		return "", errTooLong
	}
	return b.String(), nil
}
