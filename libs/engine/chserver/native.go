package chserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// customSerialization is the protocol revision since which a block says for each column whether it is serialized in another way
// (DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION).
const customSerialization = 54454

// nativeWriter turns blocks in the Native format as the engine writes them, at revision 0, into blocks at the client's revision
// (client_protocol_version), which adds a block's info and a column's serialization. One thing is lost at revision 0: a column of type
// DateTime('zone') is a DateTime, whose values are the same instants and show in the server's time zone, UTC.
type nativeWriter struct {
	w        io.Writer
	revision uint64
	buffer   chproto.Buffer
}

// Write takes whole blocks.
func (n *nativeWriter) Write(p []byte) (int, error) {
	reader := chproto.NewReader(bytes.NewReader(p))
	for {
		block := proto.Block{ServerContext: &column.ServerContext{Timezone: time.UTC}}
		if err := block.Decode(reader, 0); errors.Is(err, io.EOF) {
			return len(p), nil
		} else if err != nil {
			return 0, newException(codeNotImplemented, "NOT_IMPLEMENTED", "Cannot write the result for client_protocol_version %d: %v", n.revision, err)
		}
		n.buffer.Reset()
		if err := n.encode(&block); err != nil {
			return 0, err
		}
		if _, err := n.w.Write(n.buffer.Buf); err != nil {
			return 0, err
		}
	}
}

func (n *nativeWriter) encode(block *proto.Block) error {
	if err := block.EncodeHeader(&n.buffer, n.revision); err != nil {
		return fmt.Errorf("write a block: %w", err)
	}
	for i, c := range block.Columns {
		if block.Rows() > 0 {
			if err := block.EncodeColumn(&n.buffer, n.revision, i); err != nil {
				return fmt.Errorf("write a block: %w", err)
			}
			continue
		}
		// Without rows a column is its name and type alone.
		n.buffer.PutString(c.Name())
		n.buffer.PutString(string(c.Type()))
		if n.revision >= customSerialization {
			n.buffer.PutBool(false)
		}
	}
	return nil
}
