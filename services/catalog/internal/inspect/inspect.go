// Package inspect does the work on OpenAPI documents that may take long or much memory, whatever the document: comparing two of
// them, and checking one against a ruleset. It is done in a child process that is given the texts and nothing else (no
// environment, no connection), bounded in time, memory and output; when it takes too much it is ended and the service goes on.
//
// The child is the service's own program, started with a command that calls Child. Only catalog imports this package.
package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/tollgate/tollgate/services/catalog/internal/ruleset"
)

// Request says what the child is to do: one of Compare and Lint.
type Request struct {
	// Memory is what the child may use, in bytes.
	Memory  int64          `json:"memory"`
	Compare *CompareParams `json:"compare,omitempty"`
	Lint    *LintParams    `json:"lint,omitempty"`
}

// CompareParams are two OpenAPI documents.
type CompareParams struct {
	Base     string `json:"base"`
	Revision string `json:"revision"`
}

// LintParams are a document and the ruleset that it is checked against.
type LintParams struct {
	Document string `json:"document"`
	Ruleset  string `json:"ruleset"`
}

// Response is what the child answers.
type Response struct {
	Compare *Comparison     `json:"compare,omitempty"`
	Lint    *ruleset.Report `json:"lint,omitempty"`
	// Failure says why there is no result.
	Failure string `json:"failure,omitempty"`
}

// The failures that are not about what was asked.
const (
	failureMemory = "memory"
)

// Child reads a request from stdin, does it and writes the response to stdout. Its process must end when it returns, whatever the
// error: after too much memory, the work goes on until then.
func Child(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	var request Request
	if err := json.NewDecoder(stdin).Decode(&request); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	debug.SetMemoryLimit(request.Memory)
	done := make(chan Response, 1)
	go func() { done <- do(ctx, request) }()
	exceeded, stop := watchMemory(request.Memory)
	defer stop()
	var response Response
	select {
	case response = <-done:
	case <-exceeded:
		response = Response{Failure: failureMemory}
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := json.NewEncoder(stdout).Encode(response); err != nil {
		return fmt.Errorf("write the response: %w", err)
	}
	return nil
}

func do(ctx context.Context, r Request) (response Response) {
	defer func() {
		if p := recover(); p != nil { // a library did not foresee the document
			response = Response{Failure: fmt.Sprintf("the document cannot be inspected: %v", p)}
		}
	}()
	var err error
	switch {
	case r.Compare != nil:
		response.Compare, err = compare(ctx, *r.Compare)
	case r.Lint != nil:
		response.Lint, err = ruleset.Lint(ctx, r.Lint.Ruleset, r.Lint.Document)
	default:
		err = errors.New("the request asks for nothing")
	}
	if err != nil {
		return Response{Failure: err.Error()}
	}
	return response
}

// memoryPoll is how often the memory in use is looked at.
const memoryPoll = 10 * time.Millisecond

// watchMemory closes exceeded once what is in use comes close to limit: the collector would find less and less, and take all the time.
func watchMemory(limit int64) (exceeded <-chan struct{}, stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		tick := time.NewTicker(memoryPoll)
		defer tick.Stop()
		// What the last collection left, and everything, garbage included.
		samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			metrics.Read(samples)
			if live, all := samples[0].Value.Uint64(), samples[1].Value.Uint64(); live > uint64(limit)/8*7 || all > uint64(limit)/4*5 {
				close(over)
				return
			}
		}
	}()
	return over, func() { close(ended) }
}
