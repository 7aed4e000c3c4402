package engine

import (
	"bytes"
	"strings"
	"sync"
)

const (
	maxLine   = 16 << 10 // bytes of a line kept; an engine's message can quote a whole statement
	tailLines = 12       // last lines kept for the error of a process that failed
)

// output is what a child writes, line by line: each goes to the handler, the last ones are kept. Safe for concurrent use.
type output struct {
	handle func(line string)

	mu      sync.Mutex
	partial []byte
	tail    []string
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	written := len(p)
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			o.partial = appendUpTo(o.partial, p)
			return written, nil
		}
		line := strings.TrimRight(string(appendUpTo(o.partial, p[:end])), "\r\t ")
		o.partial, p = o.partial[:0], p[end+1:]
		if line == "" {
			continue
		}
		if o.tail = append(o.tail, line); len(o.tail) > tailLines {
			o.tail = o.tail[1:]
		}
		o.handle(line)
	}
}

func appendUpTo(line, more []byte) []byte {
	return append(line, more[:min(len(more), maxLine-len(line))]...)
}

// last returns the last lines written, joined for an error message.
func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.tail, "; ")
}
