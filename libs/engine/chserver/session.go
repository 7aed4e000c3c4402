package chserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
	"unsafe"
)

// session is a connection to the engine for one request. Its methods are for one goroutine.
type session struct {
	engine     *engine
	connection *connection
	mark       uint64 // tells the session's queries from all others, see engine.kill
}

// summary counts what a statement read, returned and wrote.
type summary struct {
	readRows, readBytes, resultRows, resultBytes, writtenRows, writtenBytes uint64
}

func (s *summary) add(l *library, r result) {
	s.readRows += l.readRows(r)
	s.readBytes += l.readBytes(r)
	s.resultRows += l.rows(r)
	s.resultBytes += l.bytes(r)
	s.writtenRows += l.writtenRows(r)
	s.writtenBytes += l.writtenBytes(r)
}

// settings are ClickHouse settings by name.
type settings map[string]string

// configure applies the request's settings and database to the session.
func (s *session) configure(ctx context.Context, given settings, database string) error {
	assignments := make([]string, 0, len(given)+1)
	for name, value := range given {
		assignments = append(assignments, name+" = "+quote(value))
	}
	assignments = append(assignments, fmt.Sprintf("%s = %d", markSetting, s.mark))
	if _, err := s.run(ctx, "SET "+strings.Join(assignments, ", "), "Null", nil, discard); err != nil {
		return err
	}
	if database == "" {
		return nil
	}
	_, err := s.run(ctx, "USE "+quoteIdentifier(database), "Null", nil, discard)
	return err
}

// discard takes a result that is known to be empty.
func discard([]byte) error { return nil }

// run executes a statement and passes its whole result on. The data is valid during the call only.
func (s *session) run(ctx context.Context, statement, format string, parameters map[string]string, consume func([]byte) error) (done summary, err error) {
	l := s.engine.library
	err = s.killable(ctx, func() error {
		r := call(l.query, *s.connection, statement, format, parameters)
		defer l.destroyResult(r)
		if err := parseException(text(l.err(r))); err != nil {
			return err
		}
		done.add(l, r)
		return consume(l.content(r))
	})
	return done, err
}

// errNotStreamable is the answer to a statement the engine does not stream: all but queries.
var errNotStreamable = errors.New("not streamable")

// stream executes a query and passes its result on piece by piece; the data of a piece is valid during the call only. When consume
// fails, the query is cancelled.
func (s *session) stream(ctx context.Context, statement, format string, parameters map[string]string, consume func([]byte, summary) error) (done summary, err error) {
	l := s.engine.library
	err = s.killable(ctx, func() error {
		r := call(l.stream, *s.connection, statement, format, parameters)
		defer l.destroyResult(r)
		if message := text(l.err(r)); strings.Contains(message, "Streaming query is not supported for query") {
			return errNotStreamable
		} else if err := parseException(message); err != nil {
			return err
		}
		for {
			more, err := s.next(r, &done, consume)
			if err != nil {
				l.cancel(*s.connection, r)
				return err
			}
			if !more {
				return nil
			}
		}
	})
	return done, err
}

func (s *session) next(r result, done *summary, consume func([]byte, summary) error) (more bool, err error) {
	l := s.engine.library
	piece := l.fetch(*s.connection, r)
	defer l.destroyResult(piece)
	if err := parseException(text(l.err(piece))); err != nil {
		return false, err
	}
	done.add(l, piece)
	content := l.content(piece)
	if len(content) == 0 {
		return false, nil
	}
	return true, consume(content, *done)
}

// insertPiece is how much of an insert's data is handed to the engine at once.
const insertPiece = 256 << 10

// insert executes an INSERT whose data, in the given format, comes from a reader. If reading fails, nothing more is inserted.
func (s *session) insert(ctx context.Context, statement, format string, parameters map[string]string, data io.Reader) (done summary, err error) {
	l := s.engine.library
	err = s.killable(ctx, func() error {
		i := call(l.insert, *s.connection, statement, format, parameters)
		defer l.destroyInsert(i)
		if err := parseException(text(l.insertError(i))); err != nil {
			return err
		}
		if err := s.feed(i, data); err != nil {
			l.cancelInsert(i)
			return err
		}
		r := l.finish(i)
		defer l.destroyResult(r)
		if err := parseException(text(l.err(r))); err != nil {
			return err
		}
		done.add(l, r)
		return nil
	})
	return done, err
}

func (s *session) feed(i inserting, data io.Reader) error {
	l := s.engine.library
	piece := make([]byte, insertPiece)
	for {
		n, err := io.ReadAtLeast(data, piece, 1)
		if n > 0 && l.appendData(i, unsafe.SliceData(piece), uintptr(n)) != 0 {
			return insertFailure(text(l.insertError(i)))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the data to insert: %w", err)
		}
	}
}

func insertFailure(message string) error {
	if err := parseException(message); err != nil {
		return err
	}
	return newException(codeStandard, "STD_EXCEPTION", "the engine took no more data and gave no reason")
}

// killPause is the time between two attempts to kill a query: the first may come before the query is listed.
const killPause = 50 * time.Millisecond

// killable executes a statement and, when ctx ends meanwhile, has the engine kill it. It returns when the statement has ended.
func (s *session) killable(ctx context.Context, execute func() error) error {
	if err := ctx.Err(); err != nil {
		return cancelled(ctx)
	}
	// The engine keeps what it knows about a query with the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ended := make(chan struct{})
	killerEnded := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killerEnded)
		for {
			s.engine.kill(s.mark)
			select {
			case <-ended:
				return
			case <-time.After(killPause):
			}
		}
	})
	err := execute()
	close(ended)
	if !stop() {
		<-killerEnded
	}
	if err != nil && ctx.Err() != nil {
		return cancelled(ctx)
	}
	return err
}

func cancelled(ctx context.Context) error {
	return newException(codeQueryCancelled, "QUERY_WAS_CANCELLED", "Query was cancelled: %v", context.Cause(ctx))
}

func (s *session) close() { s.engine.library.closeConnection(s.connection) }

// quote writes a string literal.
func quote(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`).Replace(value) + "'"
}

// quoteIdentifier writes a name.
func quoteIdentifier(name string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`", "\x00", `\0`).Replace(name) + "`"
}
