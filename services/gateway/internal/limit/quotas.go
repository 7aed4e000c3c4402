package limit

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
)

// tick is how often rates are measured and leases are renewed and returned.
const tick = 250 * time.Millisecond

// idle is how long a quota is unused before its units are given back.
const idle = 5 * time.Second

// callTimeout bounds one call to metering.
const callTimeout = 2 * time.Second

// maxAsks bounds the quotas that wait for their turn to be asked for.
const maxAsks = 10_000

// maxLeases bounds the leases that one request names. Metering takes 20,000, and has to answer in callTimeout.
const maxLeases = 2_000

// Config of the quotas of a gateway.
type Config struct {
	Gateway string
	Boot    uint64
	// Lease calls metering.Lease.
	Lease func(ctx context.Context, req *meteringv1.LeaseRequest) (*meteringv1.LeaseReply, error)
	// Wait is how long a call waits for units; 1 s when zero.
	Wait time.Duration
	// Clock is time.Now when nil.
	Clock func() time.Time
	Log   *slog.Logger
}

// Quotas holds every quota that this gateway spends, and talks to metering about them. It is safe for concurrent use.
type Quotas struct {
	config Config
	wait   time.Duration
	asks   chan *Quota
	down   atomic.Bool

	mu  sync.Mutex
	all map[Key]*Quota
}

// NewQuotas returns quotas without leases. They get some while Run runs.
func NewQuotas(c Config) *Quotas {
	if c.Wait == 0 {
		c.Wait = time.Second
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return &Quotas{config: c, wait: c.Wait, asks: make(chan *Quota, maxAsks), all: map[Key]*Quota{}}
}

func (s *Quotas) now() int64 { return s.config.Clock().UnixNano() }

// Quota returns the quota of that name, always the same one.
func (s *Quotas) Quota(key Key) *Quota {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.all[key]
	if q == nil {
		q = &Quota{Key: key, quotas: s}
		s.all[key] = q
	}
	return q
}

func (s *Quotas) list() []*Quota {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Quota, 0, len(s.all))
	for _, q := range s.all {
		list = append(list, q)
	}
	return list
}

// Run answers asks, renews and returns leases until ctx ends.
func (s *Quotas) Run(ctx context.Context) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var busy atomic.Bool
	for {
		select {
		case <-ctx.Done():
			return nil
		case q := <-s.asks:
			calls.Go(func() { q.refill(ctx) })
		case <-ticker.C:
			if busy.CompareAndSwap(false, true) {
				calls.Go(func() {
					defer busy.Store(false)
					s.maintain(ctx)
				})
			}
		}
	}
}

// maintain measures rates, renews leases in use and returns those that are not.
func (s *Quotas) maintain(ctx context.Context) {
	renewed := map[string]*lease{}
	var returns []*meteringv1.LeaseReturn
	var owners []*Quota
	now := s.now()
	for _, q := range s.list() {
		for _, r := range q.tend(now, renewed) {
			returns, owners = append(returns, r), append(owners, q)
		}
	}
	sent, err := s.tell(ctx, renewed, returns)
	if err != nil {
		s.unanswered(err)
	}
	for i, r := range returns[sent:] {
		q := owners[sent+i]
		q.mu.Lock()
		q.returns = append(q.returns, r)
		q.mu.Unlock()
	}
}

// tell renews and returns leases, and says how many returns metering has taken.
func (s *Quotas) tell(ctx context.Context, renew map[string]*lease, returns []*meteringv1.LeaseReturn) (sent int, err error) {
	ids := slices.Collect(maps.Keys(renew))
	for len(ids)+len(returns[sent:]) > 0 {
		renewing := min(len(ids), maxLeases)
		returning := min(len(returns[sent:]), maxLeases-renewing)
		reply, err := s.send(ctx, &meteringv1.LeaseRequest{Renew: ids[:renewing], Returns: returns[sent : sent+returning]})
		if err != nil {
			return sent, err
		}
		for id, expiresAt := range reply.GetRenewed() {
			if l := renew[id]; l != nil {
				l.extend(expiresAt, s.now())
			}
		}
		ids, sent = ids[renewing:], sent+returning
	}
	return sent, nil
}

// tend measures the quota's rate, notes the leases to renew and returns those to give back.
func (q *Quota) tend(now int64, renew map[string]*lease) []*meteringv1.LeaseReturn {
	taken := q.taken.Swap(0) * int64(time.Second/tick)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rate = (3*q.rate + taken) / 4
	unused := now-q.usedAt.Load() > int64(idle)
	for _, l := range q.list() {
		if unused && q.waiting.Load() == 0 {
			l.withdraw() // calls in flight may still hold some
		}
		if l.valid(now) && now > l.renewAt && (!unused || l.held() > 0) {
			renew[l.id] = l
		}
	}
	q.prune(now)
	returns := q.returns
	q.returns = nil
	return returns
}

// ReturnAll gives back every unit, at shutdown: no call is in flight any more and Run has ended.
func (s *Quotas) ReturnAll(ctx context.Context) error {
	var returns []*meteringv1.LeaseReturn
	now := s.now()
	for _, q := range s.list() {
		q.mu.Lock()
		for _, l := range q.list() {
			l.withdraw()
		}
		q.prune(now)
		returns = append(returns, q.returns...)
		q.returns = nil
		q.mu.Unlock()
	}
	_, err := s.tell(ctx, nil, returns)
	return err
}

func (s *Quotas) send(ctx context.Context, req *meteringv1.LeaseRequest) (*meteringv1.LeaseReply, error) {
	req.Gateway, req.Boot = s.config.Gateway, s.config.Boot
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, err := s.config.Lease(ctx, req)
	if err == nil && s.down.CompareAndSwap(true, false) {
		s.config.Log.Info("metering answers again")
	}
	return reply, err
}

// unanswered notes that metering did not answer; it is said once.
func (s *Quotas) unanswered(err error) {
	if s.down.CompareAndSwap(false, true) {
		s.config.Log.Warn("metering does not answer; quotas are spent from what is leased", "error", err)
	}
}
