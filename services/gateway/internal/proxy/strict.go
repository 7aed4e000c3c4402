package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// token and target say which bytes may be in a field's name or a method (RFC 9110, section 5.6.2), and in a request target.
var (
	token  = bytesOf("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	hosted = bytesOf("!$&'()*+,-./0123456789:;=ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~%")
)

func bytesOf(allowed string) (table [256]bool) {
	for i := range len(allowed) {
		table[allowed[i]] = true
	}
	return table
}

// head is what strict checks of a parsed request, beside its raw fields.
type head struct {
	method, target, protocol, host []byte
	raw                            []byte
}

// errVersion is an HTTP version that is not spoken here.
var errVersion = errors.New("the HTTP version is not 1.0 or 1.1")

// strict refuses a message that two parsers could take for different ones (RFC 9112, sections 2.2, 5 and 6): the engine is more
// lenient in places.
func strict(h head) error {
	if string(h.protocol) != "HTTP/1.1" && string(h.protocol) != "HTTP/1.0" {
		return errVersion
	}
	for _, b := range h.method {
		if !token[b] {
			return fmt.Errorf("the method %q is no token", h.method)
		}
	}
	for _, b := range h.target {
		if b <= ' ' || b == 0x7f || b == '#' || b == '"' || b == '<' || b == '>' {
			return errors.New("the request target has a control character, a space, a quote or a fragment")
		}
	}
	for _, b := range h.host {
		if !hosted[b] {
			return fmt.Errorf("the host %q has a byte that no host has", h.host)
		}
	}
	return strictFields(h.raw)
}

// strictFields checks the raw lines of the header section.
func strictFields(raw []byte) error {
	lengths, codings := 0, 0
	for len(raw) > 0 {
		end := bytes.IndexByte(raw, '\n')
		if end < 1 || raw[end-1] != '\r' {
			return errors.New("a header line does not end with CRLF")
		}
		line := raw[:end-1]
		raw = raw[end+1:]
		if len(line) == 0 {
			break
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 1 {
			return errors.New("a header line has no name, is folded, or starts with a space")
		}
		name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
		for _, b := range name {
			if !token[b] {
				return fmt.Errorf("the field name %q is no token", name)
			}
		}
		for _, b := range value {
			if b < ' ' && b != '\t' || b == 0x7f {
				return fmt.Errorf("the field %s has a control character", name)
			}
		}
		switch len(name) {
		case len("Content-Length"):
			if strings.EqualFold(string(name), "Content-Length") {
				if lengths++; lengths > 1 || !allDigits(value) {
					return errors.New("Content-Length occurs twice or is no number")
				}
			}
		case len("Transfer-Encoding"):
			if strings.EqualFold(string(name), "Transfer-Encoding") {
				if codings++; codings > 1 || !bytes.EqualFold(value, []byte("chunked")) {
					return errors.New("Transfer-Encoding occurs twice or is not chunked")
				}
			}
		}
	}
	if lengths > 0 && codings > 0 {
		return errors.New("Content-Length and Transfer-Encoding exclude each other")
	}
	return nil
}

func allDigits(b []byte) bool {
	if len(b) == 0 || len(b) > 18 {
		return false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
