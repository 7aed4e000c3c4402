package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/services/analytics/internal/app"
)

// limits bound one insert: calls that wait at most Fill for others to come with them.
var limits = callstream.Limits{Calls: 20_000, Bytes: 16 << 20, Idle: 1500 * time.Millisecond, Fill: 200 * time.Millisecond}

const (
	firstPause = 20 * time.Millisecond
	lastPause  = 2 * time.Second
	// standby is the time between two tries to become the one that lands a partition.
	standby = 500 * time.Millisecond
	// lockClass is the first key of the advisory locks of partitions.
	lockClass = 0x746f6c6c
)

var errStandby = errors.New("another process lands this partition")

// Calls lands one partition of the stream CALLS. Of several processes one lands, held by a lock of the database's session;
// the others stand by.
type Calls struct {
	a         *app.Analytics
	db        *postgres.DB
	bus       *bus.Bus
	partition int
	log       *slog.Logger
	metrics   *Metrics
	// retried says that this process has tried refused messages again. It belongs to Run.
	retried bool

	mu  sync.Mutex
	err error
}

// Metrics count what is landed.
type Metrics struct {
	calls, repeats, refused *prometheus.CounterVec
	behind                  *prometheus.GaugeVec
	seconds                 prometheus.Histogram
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"partition"})
	}
	m := &Metrics{
		calls:   counter("tollgate_analytics_calls_total", "Calls landed in ClickHouse."),
		repeats: counter("tollgate_analytics_repeated_calls_total", "Calls that had been landed before and were left out."),
		refused: counter("tollgate_analytics_refused_messages_total", "Messages that contradict themselves; their calls are missing."),
		behind:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tollgate_analytics_messages_behind", Help: "Messages in the stream that are not landed yet."}, []string{"partition"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tollgate_analytics_landing_seconds", Help: "Time that one landing took.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}),
	}
	for _, c := range []prometheus.Collector{m.calls, m.repeats, m.refused, m.behind, m.seconds} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of analytics: %w", err)
		}
	}
	return m, nil
}

// NewCalls returns what lands a partition; Run starts it.
func NewCalls(a *app.Analytics, db *postgres.DB, b *bus.Bus, partition int, metrics *Metrics, log *slog.Logger) *Calls {
	return &Calls{a: a, db: db, bus: b, partition: partition, metrics: metrics, log: log.With("partition", partition)}
}

// Run lands calls until ctx ends and then returns nil. It outlives failures of the databases and of NATS: Err tells.
func (c *Calls) Run(ctx context.Context) error {
	pause := firstPause
	for ctx.Err() == nil {
		landed := false
		err := c.session(ctx, func() { landed = true })
		if landed {
			pause = firstPause
		}
		wait := pause
		if errors.Is(err, errStandby) {
			wait, err = standby, nil
		} else {
			pause = min(2*pause, lastPause)
		}
		c.note(ctx, err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// session lands for as long as this process holds the lock and nothing fails.
func (c *Calls) session(ctx context.Context, landed func()) (err error) {
	conn, err := c.lock(ctx)
	if err != nil {
		return err
	}
	// Closing the session gives the lock up, whatever has happened to it.
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	created, err := callstream.Created(ctx, c.bus)
	if err != nil {
		return err
	}
	l, err := c.a.Attach(ctx, c.partition, created)
	if err != nil {
		return err
	}
	if !c.retried {
		if _, err := l.RetryRefused(ctx); err != nil {
			return err
		}
		c.retried = true
	}
	reader, err := callstream.Open(ctx, c.bus, c.partition, l.Sequence(), created)
	if err != nil {
		return err
	}
	defer reader.Close()
	c.note(ctx, nil)
	for {
		messages, err := reader.Take(ctx, limits)
		if err != nil {
			return err
		}
		if err := conn.Ping(ctx); err != nil {
			return fmt.Errorf("the lock of the partition is lost: %w", err)
		}
		begun := time.Now()
		result, err := l.Land(ctx, messages)
		if err != nil {
			return err
		}
		landed()
		c.count(result, messages, time.Since(begun))
	}
}

// lock takes the lock of the partition on a connection of its own.
func (c *Calls) lock(ctx context.Context) (*pgx.Conn, error) {
	pooled, err := c.db.Pool().Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock the partition: %w", err)
	}
	var locked bool
	if err := pooled.QueryRow(ctx, `SELECT pg_try_advisory_lock($1, $2)`, lockClass, c.partition).Scan(&locked); err != nil {
		pooled.Release()
		return nil, fmt.Errorf("lock the partition: %w", err)
	}
	if !locked {
		pooled.Release()
		return nil, errStandby
	}
	return pooled.Hijack(), nil
}

func (c *Calls) count(l app.Landed, messages []callstream.Message, took time.Duration) {
	label := strconv.Itoa(c.partition)
	c.metrics.calls.WithLabelValues(label).Add(float64(l.Calls))
	c.metrics.repeats.WithLabelValues(label).Add(float64(l.Repeats))
	c.metrics.refused.WithLabelValues(label).Add(float64(l.Refused))
	behind := uint64(0)
	if len(messages) > 0 {
		behind = messages[len(messages)-1].Pending
	}
	c.metrics.behind.WithLabelValues(label).Set(float64(behind))
	if l.Calls > 0 {
		c.metrics.seconds.Observe(took.Seconds())
	}
}

// Err returns why the partition does not get on at the moment, or nil.
func (c *Calls) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *Calls) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	was := c.err
	c.err = err
	c.mu.Unlock()
	switch {
	case err != nil && (was == nil || was.Error() != err.Error()):
		c.log.Error("calls are not landed", "error", err)
	case err == nil && was != nil:
		c.log.Info("calls are landed again")
	}
}
