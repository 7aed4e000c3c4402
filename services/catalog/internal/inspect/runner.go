package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/catalog/internal/ruleset"
)

const (
	// maxOutput is the longest response, in bytes.
	maxOutput = 16 << 20
	// maxErrorOutput is how much is kept of what a child writes about its failure.
	maxErrorOutput = 8 << 10
	// children is how many run at once.
	children = 2
	// afterKill is how long a child's output is waited for once it was killed.
	afterKill = time.Second
)

// Runner starts the children. It is safe for concurrent use.
type Runner struct {
	command []string
	timeout time.Duration
	memory  int64
	slots   chan struct{}

	mu sync.Mutex
	// tenants have the turns of those that run or wait.
	tenants map[string]*turn
}

// turn lets one child of a tenant run at a time, so that one tenant does not keep all others waiting.
type turn struct {
	slot chan struct{}
	// users run or wait; without any the turn is dropped.
	users int
}

// NewRunner returns a runner of the command, which must lead to Child. A child that takes longer, or needs more memory in bytes, is
// ended.
func NewRunner(command []string, timeout time.Duration, memory int64) *Runner {
	return &Runner{command: command, timeout: timeout, memory: memory, slots: make(chan struct{}, children), tenants: map[string]*turn{}}
}

// Compare returns what differs between two documents, for a tenant. The error is of kind Exhausted when that takes too much.
func (r *Runner) Compare(ctx context.Context, tenant, base, revision string) (*Comparison, error) {
	response, err := r.run(ctx, tenant, Request{Compare: &CompareParams{Base: base, Revision: revision}})
	if err != nil {
		return nil, fmt.Errorf("compare documents: %w", err)
	}
	return response.Compare, nil
}

// Lint checks a document against a ruleset, for a tenant. The error is of kind Exhausted when that takes too much.
func (r *Runner) Lint(ctx context.Context, tenant, rules, document string) (*ruleset.Report, error) {
	response, err := r.run(ctx, tenant, Request{Lint: &LintParams{Document: document, Ruleset: rules}})
	if err != nil {
		return nil, fmt.Errorf("check document against ruleset: %w", err)
	}
	return response.Lint, nil
}

// take waits until a child may run for a tenant: one of each tenant's at a time, and a few at all.
func (r *Runner) take(ctx context.Context, tenant string) (release func(), err error) {
	r.mu.Lock()
	t := r.tenants[tenant]
	if t == nil {
		t = &turn{slot: make(chan struct{}, 1)}
		r.tenants[tenant] = t
	}
	t.users++
	r.mu.Unlock()
	leave := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(r.tenants, tenant)
		}
	}
	for i, slot := range []chan struct{}{t.slot, r.slots} {
		select {
		case slot <- struct{}{}:
		case <-ctx.Done():
			if i > 0 {
				<-t.slot
			}
			leave()
			return nil, ctx.Err()
		}
	}
	return func() {
		<-r.slots
		<-t.slot
		leave()
	}, nil
}

func (r *Runner) run(ctx context.Context, tenant string, request Request) (Response, error) {
	release, err := r.take(ctx, tenant)
	if err != nil {
		return Response{}, err
	}
	defer release()
	request.Memory = r.memory
	input, err := json.Marshal(request)
	if err != nil {
		return Response{}, fmt.Errorf("encode request: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	stdout, stderr := &limited{left: maxOutput, stop: cancel}, &limited{left: maxErrorOutput}
	command := exec.CommandContext(bounded, r.command[0], r.command[1:]...)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), stdout, stderr
	command.Env = []string{fmt.Sprintf("GOMEMLIMIT=%d", r.memory), "GOMAXPROCS=1"} // nothing of the service's own
	command.WaitDelay = afterKill
	err = command.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return Response{}, ctx.Err()
	case stdout.exceeded:
		return Response{}, problem.NewExhausted("inspection-too-large", "The result is longer than %d MiB.", maxOutput>>20)
	case errors.Is(bounded.Err(), context.DeadlineExceeded):
		return Response{}, problem.NewExhausted("inspection-too-long", "Inspecting the document took longer than %v and was ended; the document, or a rule, is too large for it.", r.timeout)
	case errors.As(err, &exit):
		return Response{}, fmt.Errorf("the child ended with %w: %s", err, stderr.kept.String())
	case err != nil:
		return Response{}, fmt.Errorf("start the child %s: %w", r.command[0], err)
	}
	return r.response(stdout.kept.Bytes())
}

func (r *Runner) response(output []byte) (Response, error) {
	var response Response
	if err := json.Unmarshal(output, &response); err != nil {
		return response, fmt.Errorf("read the child's response: %w", err)
	}
	switch response.Failure {
	case "":
		return response, nil
	case failureMemory:
		return response, problem.NewExhausted("inspection-too-large", "Inspecting the document took more than %d MiB of memory and was ended; the document, or a rule, is too large for it.", r.memory>>20)
	}
	return response, problem.NewInvalid("inspection-failed", "The document cannot be inspected: %s.", response.Failure)
}

// limited keeps output up to a bound; what exceeds it is dropped, and stop called.
type limited struct {
	kept     bytes.Buffer
	left     int
	exceeded bool
	stop     func()
}

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		l.exceeded = true
		l.kept.Write(p[:l.left])
		l.left = 0
		if l.stop != nil {
			l.stop()
		}
		return len(p), nil
	}
	l.left -= len(p)
	return l.kept.Write(p)
}
