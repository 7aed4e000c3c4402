package apibridge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tollgate/tollgate/libs/problem"
)

const (
	// maxBody is the largest request body, in bytes.
	maxBody = 12 << 20
	// smallBody is the largest one of a request whose sender is not known: nobody else can have the listener hold more.
	smallBody = 64 << 10
	// maxBuffered bounds the bodies over smallBody that are held at once; more wait for their turn, at most bufferWait.
	maxBuffered = 64 << 20
	bufferWait  = 15 * time.Second
)

// bodies are the request bodies that are held in memory on their way.
type bodies struct{ held *semaphore.Weighted }

func newBodies() bodies { return bodies{semaphore.NewWeighted(maxBuffered)} }

// read reads a body; release gives its room back and is called once.
func (b bodies) read(w http.ResponseWriter, r *http.Request, known bool) (body []byte, release func(), err error) {
	most, without := int64(maxBody), ""
	if !known {
		most, without = smallBody, ", the most without a valid personal access token or session's token"
	}
	tooLarge := problem.NewTooLarge("body-too-large", "The body is over %d KiB%s.", most>>10, without)
	length := r.ContentLength
	switch {
	case length > most:
		return nil, nil, tooLarge
	case length < 0:
		length = most
	}
	release = func() {}
	if length > smallBody {
		if err := b.take(r.Context(), length); err != nil {
			return nil, nil, err
		}
		release = func() { b.held.Release(length) }
	}
	body, err = readAll(http.MaxBytesReader(w, r.Body, most), r.ContentLength)
	if err == nil {
		return body, release, nil
	}
	release()
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return nil, nil, tooLarge.Wrap(err)
	}
	return nil, nil, problem.NewInvalid("body-unreadable", "The body broke off, or did not arrive in time.").Wrap(err)
}

// readAll takes no more memory than the body has bytes, where that is said.
func readAll(r io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(r)
	}
	body := make([]byte, length)
	_, err := io.ReadFull(r, body)
	return body, err
}

func (b bodies) take(ctx context.Context, bytes int64) error {
	ctx, cancel := context.WithTimeout(ctx, bufferWait)
	defer cancel()
	if err := b.held.Acquire(ctx, bytes); err != nil {
		return problem.NewUnavailable("overloaded", "Too many large requests are on their way. Try again in a moment.").Wrap(err)
	}
	return nil
}
