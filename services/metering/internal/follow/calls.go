package follow

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/services/metering/internal/app"
)

// limits bound one transaction.
var limits = callstream.Limits{Calls: 10_000, Bytes: 8 << 20, Idle: 1500 * time.Millisecond}

const (
	firstPause = 20 * time.Millisecond
	lastPause  = 2 * time.Second
)

// Calls applies one partition of the stream CALLS. Several processes may run it at once: they take turns and waste some work.
type Calls struct {
	m         *app.Metering
	bus       *bus.Bus
	partition int
	log       *slog.Logger
	metrics   *Metrics
	retried   bool // refused messages, by this process

	mu       sync.Mutex
	sequence uint64
	moved    chan struct{} // closed when sequence changes
	err      error
}

// Metrics count what is applied.
type Metrics struct {
	calls, repeats, refused *prometheus.CounterVec
	behind                  *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"partition"})
	}
	m := &Metrics{
		calls:   counter("tollgate_metering_calls_total", "Calls metered."),
		repeats: counter("tollgate_metering_repeated_calls_total", "Calls that had been metered before and were left out."),
		refused: counter("tollgate_metering_refused_messages_total", "Messages that contradict themselves; their calls are missing."),
		behind:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tollgate_metering_messages_behind", Help: "Messages in the stream that are not applied yet."}, []string{"partition"}),
	}
	for _, c := range []prometheus.Collector{m.calls, m.repeats, m.refused, m.behind} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of metering: %w", err)
		}
	}
	return m, nil
}

// NewCalls returns the consumer of a partition; Run starts it.
func NewCalls(m *app.Metering, b *bus.Bus, partition int, metrics *Metrics, log *slog.Logger) *Calls {
	return &Calls{m: m, bus: b, partition: partition, metrics: metrics, log: log.With("partition", partition), moved: make(chan struct{})}
}

// Run applies calls until ctx ends and then returns nil. It outlives failures of the database and of NATS; what cannot be applied
// for another reason stops the partition, since money must not be passed over: Err tells.
func (c *Calls) Run(ctx context.Context) error {
	pause := firstPause
	for ctx.Err() == nil {
		before := c.Sequence()
		err := c.session(ctx)
		if c.Sequence() > before {
			pause = firstPause
		}
		c.note(ctx, err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
	return nil
}

func (c *Calls) session(ctx context.Context) error {
	created, err := callstream.Created(ctx, c.bus)
	if err != nil {
		return err
	}
	p, err := c.m.Attach(ctx, c.partition, created)
	if err != nil {
		return err
	}
	if !c.retried { // what this build cannot use it cannot use later either
		if _, err := p.RetryRefused(ctx); err != nil {
			return err
		}
		c.retried = true
	}
	reader, err := callstream.Open(ctx, c.bus, c.partition, p.Sequence(), created)
	if err != nil {
		return err
	}
	defer reader.Close()
	c.advance(p.Sequence())
	for {
		messages, err := reader.Take(ctx, limits)
		if err != nil {
			return err
		}
		applied, err := p.Apply(ctx, messages)
		if err != nil {
			return err
		}
		c.count(applied, messages)
		c.advance(p.Sequence())
		c.note(ctx, nil)
	}
}

func (c *Calls) count(a app.Applied, messages []callstream.Message) {
	label := strconv.Itoa(c.partition)
	c.metrics.calls.WithLabelValues(label).Add(float64(a.Calls))
	c.metrics.repeats.WithLabelValues(label).Add(float64(a.Repeats))
	c.metrics.refused.WithLabelValues(label).Add(float64(a.Refused))
	behind := uint64(0)
	if len(messages) > 0 {
		behind = messages[len(messages)-1].Pending
	}
	c.metrics.behind.WithLabelValues(label).Set(float64(behind))
}

// Sequence is that of the last message applied.
func (c *Calls) Sequence() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sequence
}

func (c *Calls) advance(sequence uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sequence == sequence {
		return
	}
	c.sequence = sequence
	close(c.moved)
	c.moved = make(chan struct{})
}

// WaitFor waits until messages up to a sequence are applied.
func (c *Calls) WaitFor(ctx context.Context, sequence uint64) error {
	for {
		c.mu.Lock()
		at, moved := c.sequence, c.moved
		c.mu.Unlock()
		if at >= sequence {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("partition %d is applied up to message %d, not yet %d: %w", c.partition, at, sequence, ctx.Err())
		}
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
		c.log.Error("calls are not metered", "sequence", c.Sequence(), "error", err)
	case err == nil && was != nil:
		c.log.Info("calls are metered again", "sequence", c.Sequence())
	}
}
