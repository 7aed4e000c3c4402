// Package callset owns the identity of a call and the digest of a set of calls.
//
// A call is identified by (gateway, boot, seq), printed "gw1.17.123456". The digest of a set is the sum modulo 2^64 of
// its members' digests, so that it does not depend on order and can be kept incrementally, in Go, in Postgres and in
// ClickHouse alike. Two services that hold the same digest and the same count hold the same calls; it protects
// against loss and repetition, not against a forger.
//
// Any package may import it. Everything here is pure.
package callset

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// ClickHouseDigest is Digest in ClickHouse's SQL over the columns gateway, boot and seq; sum() of it wraps at 2^64.
const ClickHouseDigest = "reinterpretAsUInt64(substring(SHA256(concat(gateway, '.', toString(boot), '.', toString(seq))), 1, 8))"

// ID is the identity of a call.
type ID struct {
	Gateway string
	Boot    uint64
	Seq     uint64
}

// String prints the identity as clients see it in Tollgate-Call-Id.
func (id ID) String() string {
	return id.Gateway + "." + strconv.FormatUint(id.Boot, 10) + "." + strconv.FormatUint(id.Seq, 10)
}

// Parse is the reverse of String. The gateway's name may itself have dots.
func Parse(text string) (ID, error) {
	rest, seqText, ok := cutLast(text)
	gateway, bootText, ok2 := cutLast(rest)
	boot, err := strconv.ParseUint(bootText, 10, 64)
	seq, err2 := strconv.ParseUint(seqText, 10, 64)
	if !ok || !ok2 || gateway == "" || err != nil || err2 != nil || boot == 0 || seq == 0 {
		return ID{}, fmt.Errorf("%q is not a call id: want gateway.boot.seq, for example gw1.17.123456", text)
	}
	return ID{Gateway: gateway, Boot: boot, Seq: seq}, nil
}

func cutLast(text string) (before, after string, ok bool) {
	i := strings.LastIndexByte(text, '.')
	if i < 0 {
		return "", text, false
	}
	return text[:i], text[i+1:], true
}

// Digest returns the digest of one call: the first 8 bytes, little endian, of SHA-256 over its printed identity.
func Digest(gateway string, boot, seq uint64) uint64 {
	sum := sha256.Sum256([]byte(ID{Gateway: gateway, Boot: boot, Seq: seq}.String()))
	return binary.LittleEndian.Uint64(sum[:8])
}

// Hex prints a digest as 16 hexadecimal digits.
func Hex(digest uint64) string { return fmt.Sprintf("%016x", digest) }
