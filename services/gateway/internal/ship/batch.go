package ship

import (
	"cmp"
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tollgate/tollgate/services/gateway/internal/journal"
)

// batch is one calls.v1.CallBatch.
type batch struct {
	boot        uint64
	firstSeq    uint64
	records     []journal.Record // contiguous from firstSeq
	sealedUntil int64
	bootClosed  bool
	// openListed: open is all numbers below of answers that still stream.
	openListed bool
	open       []uint64
}

// append appends the encoding. The records are already encoded: they are copied in as they are.
func (b batch) append(out []byte, gateway string) []byte {
	out = protowire.AppendTag(out, 1, protowire.BytesType)
	out = protowire.AppendString(out, gateway)
	out = appendUint(out, 2, b.boot)
	out = appendUint(out, 3, b.firstSeq)
	out = appendUint(out, 4, uint64(len(b.records)))
	if b.sealedUntil != 0 {
		out = protowire.AppendTag(out, 5, protowire.Fixed64Type)
		out = binary.LittleEndian.AppendUint64(out, uint64(b.sealedUntil))
	}
	if b.bootClosed {
		out = appendUint(out, 6, 1)
	}
	for _, r := range b.records {
		out = protowire.AppendTag(out, 7, protowire.BytesType)
		out = protowire.AppendBytes(out, r.Payload)
	}
	if b.openListed {
		out = appendPacked(out, 8, b.open)
		out = appendUint(out, 9, 1)
	}
	return out
}

func appendPacked(out []byte, field protowire.Number, values []uint64) []byte {
	size := 0
	for _, v := range values {
		size += protowire.SizeVarint(v)
	}
	out = protowire.AppendTag(out, field, protowire.BytesType)
	out = protowire.AppendVarint(out, uint64(size))
	for _, v := range values {
		out = protowire.AppendVarint(out, v)
	}
	return out
}

func appendUint(out []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return out
	}
	out = protowire.AppendTag(out, field, protowire.VarintType)
	return protowire.AppendVarint(out, v)
}

// runs sorts records by sequence number and cuts them into contiguous runs. All but the records of streamed answers, which
// are numbered when they begin and recorded when they end, are contiguous already.
func runs(records []journal.Record) [][]journal.Record {
	slices.SortFunc(records, func(a, b journal.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	var all [][]journal.Record
	start := 0
	for i := range records {
		if i+1 == len(records) || records[i+1].Seq != records[i].Seq+1 {
			all = append(all, records[start:i+1])
			start = i + 1
		}
	}
	return all
}
