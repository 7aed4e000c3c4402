package eventlog_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

func withKey(ctx context.Context, key, body string) context.Context {
	return principal.WithCommand(ctx, principal.Command{Key: key, Hash: sha256.Sum256([]byte(body))})
}

type response struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 4))
	var runs atomic.Int32
	create := func(ctx context.Context, name string) (eventlog.Result[response], error) {
		return eventlog.Execute(ctx, log, func(_ context.Context, tx *eventlog.Tx) (response, error) {
			tx.Append("api", name, 0, created(name))
			return response{Name: name, Count: int(runs.Add(1))}, nil
		})
	}
	ctx := as(t.Context(), tenant)

	first, err := create(withKey(ctx, "k1", "weather"), "weather")
	require.NoError(t, err)
	require.Equal(t, eventlog.Result[response]{Value: response{"weather", 1}, Position: 1}, first)
	_, err = create(ctx, "without-a-key")
	require.NoError(t, err)

	again, err := create(withKey(ctx, "k1", "weather"), "weather")
	require.NoError(t, err)
	require.Equal(t, eventlog.Result[response]{Value: response{"weather", 1}, Position: 1, Replayed: true}, again)
	require.EqualValues(t, 2, runs.Load())

	_, err = create(withKey(ctx, "k1", "another body"), "weather")
	require.ErrorContains(t, err, `The Idempotency-Key "k1" came with another request before`)
	require.Equal(t, problem.Conflict, problem.KindOf(err))

	_, err = create(withKey(as(t.Context(), "globex"), "k1", "another body"), "weather")
	require.NoError(t, err, "another tenant's key is another key")
	require.EqualValues(t, 3, mustHead(t, log))

	deleted, err := log.ForgetCommands(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.EqualValues(t, 2, deleted)
	_, err = create(withKey(ctx, "k1", "third body"), "weather-3")
	require.NoError(t, err)
}

func TestIdempotencyOfACommandWithoutEvents(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 4))
	fill(t, log, "x", 3)
	ctx := withKey(as(t.Context(), tenant), "k", "")
	for _, replayed := range []bool{false, true} {
		result, err := eventlog.Execute(ctx, log, func(context.Context, *eventlog.Tx) (string, error) { return "nothing to do", nil })
		require.NoError(t, err)
		require.Equal(t, eventlog.Result[string]{Value: "nothing to do", Position: 3, Replayed: replayed}, result)
	}
}

func TestIdempotencyReplaysMessages(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 4))
	ctx := withKey(as(t.Context(), tenant), "k", "")
	for range 2 {
		result, err := eventlog.Execute(ctx, log, func(context.Context, *eventlog.Tx) (*catalogv1.APICreated, error) {
			return created("weather"), nil
		})
		require.NoError(t, err)
		require.True(t, proto.Equal(created("weather"), result.Value))
	}
}

func TestFailedCommandsAreNotRemembered(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 4))
	ctx := withKey(as(t.Context(), tenant), "k", "")
	refused := problem.NewConflict("refused", "Not now.")
	for _, want := range []error{refused, nil} {
		result, err := eventlog.Execute(ctx, log, func(context.Context, *eventlog.Tx) (int, error) { return 7, want })
		require.ErrorIs(t, err, want)
		require.False(t, result.Replayed)
	}
}

func TestConcurrentCommandsWithOneKey(t *testing.T) {
	t.Parallel()
	db := openDB(t, 20)
	log := newLog(t, db)
	execute(t, db, `CREATE TABLE names (name text PRIMARY KEY)`)
	ctx := withKey(as(t.Context(), tenant), "k", "weather")
	var group errgroup.Group
	var executed atomic.Int32
	for range 16 {
		group.Go(func() error {
			result, err := eventlog.Execute(ctx, log, func(ctx context.Context, tx *eventlog.Tx) (string, error) {
				// Without waiting for the first one, the others would fail here.
				if _, err := tx.Exec(ctx, `INSERT INTO names VALUES ('weather')`); err != nil {
					return "", err
				}
				tx.Append("api", "weather", 0, created("weather"))
				return "created", nil
			})
			if err == nil && (result.Value != "created" || result.Position != 1) {
				err = fmt.Errorf("unexpected %+v", result)
			}
			if err == nil && !result.Replayed {
				executed.Add(1)
			}
			return err
		})
	}
	require.NoError(t, group.Wait())
	require.EqualValues(t, 1, executed.Load())
	require.EqualValues(t, 1, mustHead(t, log))
}

func TestConflictStartsAgain(t *testing.T) {
	t.Parallel()
	for conflicts, want := range map[int]int{0: 1, 1: 2, 3: 4, 4: 4} {
		t.Run(fmt.Sprintf("%d conflicts", conflicts), func(t *testing.T) {
			t.Parallel()
			log := newLog(t, openDB(t, 4))
			ctx := as(t.Context(), tenant)
			runs := 0
			_, err := eventlog.Execute(ctx, log, func(inner context.Context, tx *eventlog.Tx) (int, error) {
				runs++
				events, err := tx.Load(inner, "api", "a")
				if err != nil {
					return 0, err
				}
				if runs <= conflicts { // somebody else is faster
					if _, err := appendTo(ctx, log, "a", uint64(len(events)), changed("a")); err != nil {
						return 0, err
					}
				}
				tx.Append("api", "a", uint64(len(events)), changed("a"))
				return 0, nil
			})
			require.Equal(t, want, runs)
			if conflicts < 4 {
				require.NoError(t, err)
				require.EqualValues(t, conflicts+1, mustHead(t, log))
				return
			}
			require.ErrorIs(t, err, eventlog.ErrConflict)
			require.Equal(t, problem.Conflict, problem.KindOf(err))
			require.Equal(t, "concurrent-change", problem.From(err).Code)
		})
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	db := openDB(t, 4)
	log := newLog(t, db)
	execute(t, db, `CREATE TABLE names (name text PRIMARY KEY)`)
	command := principal.Command{Key: "k", DryRun: true}
	ctx := principal.WithCommand(as(t.Context(), tenant), command)
	create := func(ctx context.Context, tx *eventlog.Tx) (string, error) {
		tx.Append("api", "a", 0, created("a"))
		_, err := tx.Exec(ctx, `INSERT INTO names VALUES ('a')`)
		return "created", err
	}
	result, err := eventlog.Execute(ctx, log, create)
	require.NoError(t, err)
	require.Equal(t, eventlog.Result[string]{Value: "created"}, result)
	require.Zero(t, mustHead(t, log))
	require.Zero(t, query[int](t, db, `SELECT count(*) FROM names`))

	command.DryRun = false
	result, err = eventlog.Execute(principal.WithCommand(ctx, command), log, create)
	require.NoError(t, err)
	require.Equal(t, eventlog.Result[string]{Value: "created", Position: 1}, result)
}

func TestExecuteRefuses(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 4))
	nothing := func(context.Context, *eventlog.Tx) (int, error) { return 0, nil }
	ctx := as(t.Context(), tenant)
	tests := map[string]struct {
		ctx  context.Context
		want string
	}{
		"nobody":    {t.Context(), "Nobody is known to act here"},
		"no tenant": {as(t.Context(), ""), "no tenant given"},
		"reason":    {principal.WithCommand(ctx, principal.Command{Reason: "a\x00b"}), "reason: contains the character U+0000"},
		"key":       {withKey(ctx, string(make([]byte, 300)), ""), "Idempotency-Key: is not usable"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := eventlog.Execute(test.ctx, log, nothing)
			require.ErrorContains(t, err, test.want)
		})
	}
}

// TestBackendTerminated ends the command's connection at each step: the command starts again and happens once.
func TestBackendTerminated(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"before the first statement", "after the last statement"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			db := openDB(t, 4)
			log := newLog(t, db)
			var once sync.Once
			kill := func(ctx context.Context, tx *eventlog.Tx, at string) {
				if at == step {
					once.Do(func() { terminate(t, db, tx.Conn().PgConn().PID()) })
				}
			}
			_, err := eventlog.Execute(as(t.Context(), tenant), log, func(ctx context.Context, tx *eventlog.Tx) (int, error) {
				kill(ctx, tx, "before the first statement")
				events, err := tx.Load(ctx, "api", "a")
				if err != nil {
					return 0, err
				}
				tx.Append("api", "a", uint64(len(events)), changed("a"))
				kill(ctx, tx, "after the last statement")
				return 0, nil
			})
			if err != nil { // during the commit, without a key: the caller is told
				require.Equal(t, "outcome-unknown", problem.From(err).Code)
				require.Zero(t, mustHead(t, log))
				return
			}
			require.EqualValues(t, 1, mustHead(t, log))
		})
	}
}

// terminate ends a session of the database and waits for it.
func terminate(tb testing.TB, db interface {
	InTenant(ctx context.Context, tenant string, fn func(pgx.Tx) error) error
}, pid uint32,
) {
	tb.Helper()
	ctx := context.WithoutCancel(tb.Context())
	err := db.InTenant(ctx, "*", func(tx pgx.Tx) error {
		var done bool
		return errors.Join(tx.QueryRow(ctx, `SELECT pg_terminate_backend($1, 5000)`, int32(pid)).Scan(&done))
	})
	if err != nil {
		tb.Errorf("terminate backend: %v", err)
	}
}

// TestKilledCommandsWithKeys ends random connections while commands with keys run: each happens once.
func TestKilledCommandsWithKeys(t *testing.T) {
	t.Parallel()
	url := testkit.Database(t, "eventlog")
	db := openURL(t, url, 12)
	log := newLog(t, db)
	kill, stop := killConnections(t, openURL(t, url, 1))
	const writers, commands = 6, 40
	var group errgroup.Group
	for w := range writers {
		group.Go(func() error {
			for c := range commands {
				name := fmt.Sprintf("%d-%d", w, c)
				for { // as a client does that sends its key again
					_, err := appendTo(withKey(as(t.Context(), tenant), name, name), log, name, 0, created(name))
					if err == nil {
						kill()
						break
					}
					if problem.KindOf(err) != problem.Unavailable {
						return err
					}
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.Positive(t, stop())
	require.Len(t, readAll(t, log), writers*commands)
}

// killConnections ends a random connection to the database soon after each call of kill, so that those who call it when
// they get on do get on. stop returns how many were ended. admin has one connection, which is spared.
func killConnections(tb testing.TB, admin *postgres.DB) (kill func(), stop func() (killed int64)) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	asked, done := make(chan struct{}, 1), make(chan int64, 1)
	go func() {
		var killed int64
		for {
			select {
			case <-ctx.Done():
				done <- killed
				return
			case <-asked:
			}
			// Waited for, also at the end: what runs after stop meets no connection that is still to be ended.
			tag, _ := admin.Pool().Exec(context.WithoutCancel(ctx), `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
				WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1`)
			killed += tag.RowsAffected()
		}
	}()
	var killed int64
	var once sync.Once
	stop = func() int64 {
		once.Do(func() {
			cancel()
			killed = <-done
		})
		return killed
	}
	tb.Cleanup(func() { stop() })
	kill = func() {
		select {
		case asked <- struct{}{}:
		default:
		}
	}
	return kill, stop
}
