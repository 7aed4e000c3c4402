package chserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tollgate/tollgate/libs/engine/chserver/order"
)

const (
	readHeaderTimeout = 10 * time.Second
	shutdownTimeout   = 10 * time.Second // for the statements that run when the server is stopped; then they are killed
)

// Run serves until ctx ends, then ends its statements and closes the engine's data.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("serve ClickHouse: %w", err)
	}
	e, err := openEngine(c)
	if err != nil {
		return fmt.Errorf("serve ClickHouse: %w", err)
	}
	defer e.close()
	version, err := e.version(ctx)
	if err != nil {
		return fmt.Errorf("serve ClickHouse: %w", err)
	}
	// A statement's context ends when its client leaves or, at the latest, when the server has to.
	serving, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(nil)
	s := &server{config: c, engine: e, version: version, slots: semaphore.NewWeighted(int64(c.Queries)), marks: map[string]uint64{}}
	s.host, _ = os.Hostname() // for display
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		BaseContext:       func(net.Listener) context.Context { return serving },
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(c.Listener) }()
	c.Log.Info("serving ClickHouse", "version", version, "address", c.Listener.Addr().String())
	select {
	case err := <-failed:
		return fmt.Errorf("serve ClickHouse: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(serving, shutdownTimeout)
	defer cancel()
	if err := h.Shutdown(stopping); err == nil {
		return nil
	}
	kill(errors.New("the server is stopping"))
	stopping, cancel = context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return h.Shutdown(stopping)
}

// server handles the requests. It is safe for concurrent use.
type server struct {
	config  Config
	engine  *engine
	version string
	host    string
	slots   *semaphore.Weighted

	mu    sync.Mutex
	marks map[string]uint64 // of the sessions that run, by the query id their clients know
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-ClickHouse-Server-Display-Name", s.host)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodPost && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "use GET or POST", http.StatusMethodNotAllowed)
	case r.URL.Path == "/ping" || r.URL.Path == "/replicas_status":
		_, _ = io.WriteString(w, "Ok.\n") // a client that is gone needs no answer
	case r.URL.Path != "/":
		http.Error(w, "There is no handler for "+r.URL.Path+"; use / for queries and /ping for a check", http.StatusNotFound)
	default:
		s.serveQuery(w, r)
	}
}

func (s *server) serveQuery(w http.ResponseWriter, r *http.Request) {
	if err := s.authenticate(r); err != nil {
		s.refuse(w, err)
		return
	}
	q, body, err := parseRequest(r)
	if err != nil {
		s.refuse(w, err)
		return
	}
	defer func() { _ = body.Close() }()
	w.Header().Set("X-ClickHouse-Query-Id", q.queryID)
	w.Header().Set("X-ClickHouse-Timezone", "UTC")
	answer, err := newResponse(w, q, s.version)
	if err != nil {
		s.refuse(w, err)
		return
	}
	if err := s.execute(r.Context(), q, answer); err != nil {
		var failure *exception
		if !errors.As(err, &failure) {
			failure = newException(codeStandard, "STD_EXCEPTION", "%v", err)
		}
		answer.fail(failure)
		return
	}
	if err := answer.finish(); err != nil {
		// The client is gone, or will see that the body is not complete.
		panic(http.ErrAbortHandler)
	}
}

// refuse answers a request that was not executed.
func (s *server) refuse(w http.ResponseWriter, err error) {
	var failure *exception
	if !errors.As(err, &failure) {
		failure = newException(codeStandard, "STD_EXCEPTION", "%v", err)
	}
	message := failure.text + " (version " + s.version + " (libchdb))\n"
	writeException(w, failure, message, func() { _, _ = io.WriteString(w, message) })
}

// authenticate checks user and password in the Authorization header (Basic, RFC 7617), in ClickHouse's headers or in the URL.
func (s *server) authenticate(r *http.Request) error {
	user, password, given := r.BasicAuth()
	if !given {
		user, password = r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	}
	if user == "" && password == "" {
		values := r.URL.Query()
		user, password = values.Get("user"), values.Get("password")
	}
	if password == "" {
		return newException(codeRequiredPassword, "REQUIRED_PASSWORD", "Authentication is required: send the user %s and its password", order.User)
	}
	got, want := sha256.Sum256([]byte(password)), sha256.Sum256([]byte(s.config.Password))
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || user != "" && user != order.User {
		return newException(codeAuthenticationFailed, "AUTHENTICATION_FAILED",
			"%s: Authentication failed: password is incorrect, or there is no user with such name", user)
	}
	return nil
}

// execute runs the request's statement in a session of its own.
func (s *server) execute(ctx context.Context, q *request, answer *response) error {
	if q.statement.kill {
		// It must get through when every place is taken by what it is to kill.
		q.statement.text = s.translateKill(q.statement.text)
	} else if err := s.slots.Acquire(ctx, 1); err != nil {
		return cancelled(ctx)
	} else {
		defer s.slots.Release(1)
	}
	session, err := s.engine.open()
	if err != nil {
		return err
	}
	defer session.close()
	if err := session.configure(ctx, q.settings, q.database); err != nil {
		return err
	}
	if err := s.enter(q.queryID, session.mark); err != nil {
		return err
	}
	defer s.leave(q.queryID)
	if q.statement.insert {
		answer.done, err = session.insert(ctx, q.statement.text, q.statement.format, q.parameters, q.data)
		return err
	}
	return s.query(ctx, session, q, answer)
}

// query streams a result if its format allows it and the statement is a query.
func (s *server) query(ctx context.Context, session *session, q *request, answer *response) (err error) {
	if streamed(q.format) {
		_, err = session.stream(ctx, q.statement.text, q.format, q.parameters, func(part []byte, done summary) error {
			answer.done = done
			if _, err := answer.result.Write(part); err != nil {
				return err
			}
			return answer.flush()
		})
		if !errors.Is(err, errNotStreamable) {
			return err
		}
	}
	answer.done, err = session.run(ctx, q.statement.text, q.format, q.parameters, func(content []byte) error {
		_, err := answer.result.Write(content)
		return err
	})
	return err
}

// enter lists the query under its id.
func (s *server) enter(queryID string, mark uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, running := s.marks[queryID]; running {
		return newException(216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", "Query with id = %s is already running", queryID)
	}
	s.marks[queryID] = mark
	return nil
}

func (s *server) leave(queryID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.marks, queryID)
}

var killByID = regexp.MustCompile(`(?i)\bquery_id\s*=\s*'([^'\\]*)'`)

// translateKill has KILL QUERY find queries by the ids their clients know, where the engine knows its own.
func (s *server) translateKill(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return killByID.ReplaceAllStringFunc(text, func(condition string) string {
		if mark, running := s.marks[killByID.FindStringSubmatch(condition)[1]]; running {
			return markCondition(mark)
		}
		return condition
	})
}
