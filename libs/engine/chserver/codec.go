package chserver

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	chcompress "github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// decode undoes a request's Content-Encoding (RFC 9110, section 8.4). The result is closed to give back what it holds.
func decode(encoding string, body io.Reader) (io.ReadCloser, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return io.NopCloser(body), nil
	case "gzip":
		return gzip.NewReader(body)
	case "deflate":
		return zlib.NewReader(body)
	case "br":
		return io.NopCloser(brotli.NewReader(body)), nil
	case "zstd":
		decoder, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return decoder.IOReadCloser(), nil
	case "lz4":
		return io.NopCloser(lz4.NewReader(body)), nil
	default:
		return nil, newException(codeNotImplemented, "NOT_IMPLEMENTED",
			"Content-Encoding %q is not supported, use gzip, deflate, br, zstd or lz4", encoding)
	}
}

// encoder is a compressor of a response.
type encoder interface {
	io.WriteCloser
	Flush() error
}

// encodings are the response encodings in the order of preference.
var encodings = []string{"zstd", "br", "gzip", "deflate", "lz4"}

// chooseEncoding picks one of those an Accept-Encoding header names (RFC 9110, section 12.5.3), or none.
func chooseEncoding(accept string) string {
	accepted := make(map[string]bool)
	for choice := range strings.SplitSeq(accept, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(choice), ";")
		if weight = strings.ReplaceAll(weight, " ", ""); weight != "q=0" {
			accepted[strings.ToLower(strings.TrimSpace(name))] = true
		}
	}
	for _, encoding := range encodings {
		if accepted[encoding] {
			return encoding
		}
	}
	return ""
}

// encode compresses a response on its way to w.
func encode(encoding string, w io.Writer) (encoder, error) {
	switch encoding {
	case "gzip":
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	case "deflate":
		return zlib.NewWriterLevel(w, flate.BestSpeed)
	case "br":
		return brotli.NewWriterLevel(w, brotli.BestSpeed), nil
	case "zstd":
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	case "lz4":
		return lz4.NewWriter(w), nil
	default:
		return nil, fmt.Errorf("no encoder for %q", encoding)
	}
}

// blockHeader is the size of a compressed block's head: checksum, method, compressed size, size.
const blockHeader = 16 + 1 + 4 + 4

// blockReader reads ClickHouse's own compressed blocks (decompress=1). It ends between blocks; data that ends within one is an error.
type blockReader struct {
	source *bufio.Reader
	blocks *chcompress.Reader
	left   int // of the current block's data
}

func newBlockReader(r io.Reader) *blockReader {
	source := bufio.NewReader(r)
	return &blockReader{source: source, blocks: chcompress.NewReader(source)}
}

func (b *blockReader) Read(p []byte) (int, error) {
	for b.left == 0 {
		head, err := b.source.Peek(blockHeader)
		switch {
		case len(head) == 0:
			return 0, err
		case err != nil:
			return 0, within(err)
		}
		b.left = int(binary.LittleEndian.Uint32(head[blockHeader-4:]))
		if b.left == 0 {
			if _, err := b.blocks.Read(nil); err != nil { // past the empty block
				return 0, within(err)
			}
		}
	}
	n, err := b.blocks.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, within(err)
}

// within makes the end of the data an error.
func within(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// blockBytes is how much of a response goes into one of ClickHouse's compressed blocks.
const blockBytes = 1 << 20

// blockWriter writes ClickHouse's own compressed blocks (compress=1): LZ4 or ZSTD, with a checksum.
type blockWriter struct {
	w          io.Writer
	compressor *chcompress.Writer
	pending    []byte
}

func newBlockWriter(w io.Writer, method string) (*blockWriter, error) {
	switch strings.ToUpper(method) {
	case "", "LZ4":
		return &blockWriter{w: w, compressor: chcompress.NewWriter(chcompress.LevelZero, chcompress.LZ4)}, nil
	case "ZSTD":
		return &blockWriter{w: w, compressor: chcompress.NewWriter(chcompress.LevelZero, chcompress.ZSTD)}, nil
	case "NONE":
		return &blockWriter{w: w, compressor: chcompress.NewWriter(chcompress.LevelZero, chcompress.None)}, nil
	default:
		return nil, newException(codeNotImplemented, "NOT_IMPLEMENTED", "network_compression_method %q is not supported, use LZ4, ZSTD or NONE", method)
	}
}

func (b *blockWriter) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		n := min(len(p), blockBytes-len(b.pending))
		b.pending, p = append(b.pending, p[:n]...), p[n:]
		if len(b.pending) == blockBytes {
			if err := b.Flush(); err != nil {
				return 0, err
			}
		}
	}
	return written, nil
}

// Flush writes what is pending as a block.
func (b *blockWriter) Flush() error {
	if len(b.pending) == 0 {
		return nil
	}
	if err := b.compressor.Compress(b.pending); err != nil {
		return fmt.Errorf("compress the result: %w", err)
	}
	b.pending = b.pending[:0]
	_, err := b.w.Write(b.compressor.Data)
	return err
}

func (b *blockWriter) Close() error { return b.Flush() }
