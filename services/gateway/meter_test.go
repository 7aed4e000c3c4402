package gateway

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
)

// meter answers metering.Lease from a strict balance.
type meter struct {
	t          testing.TB
	mu         sync.Mutex
	free       int64
	spent      int64
	quota      int64
	leases     map[string]int64
	grants     int
	windowEnds time.Time
}

func (w *world) meter(quota int64) *meter {
	m := &meter{t: w.t, quota: quota, free: quota, leases: map[string]int64{}, windowEnds: time.Now().Add(24 * time.Hour)}
	conn := w.nats.Connect()
	_, err := conn.Subscribe(bus.RPCSubject("metering.Lease"), func(msg *nats.Msg) {
		var req meteringv1.LeaseRequest
		if err := proto.Unmarshal(msg.Data, &req); err != nil {
			m.t.Errorf("a lease request: %v", err)
			return
		}
		data, err := proto.Marshal(m.lease(&req))
		if err != nil {
			m.t.Errorf("a lease reply: %v", err)
			return
		}
		_ = msg.Respond(data)
	})
	require.NoError(w.t, err)
	require.NoError(w.t, conn.Flush())
	return m
}

func (m *meter) lease(req *meteringv1.LeaseRequest) *meteringv1.LeaseReply {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range req.GetReturns() {
		granted, ok := m.leases[r.GetLease()]
		if !ok || r.GetSpent() > granted {
			m.t.Errorf("lease %s (known: %v, %d units) comes back with %d spent", r.GetLease(), ok, granted, r.GetSpent())
		}
		delete(m.leases, r.GetLease())
		m.spent += r.GetSpent()
		m.free += granted - r.GetSpent()
	}
	reply := &meteringv1.LeaseReply{Renewed: map[string]int64{}}
	for _, id := range req.GetRenew() {
		reply.Renewed[id] = time.Now().Add(time.Minute).UnixNano()
	}
	for _, a := range req.GetAsks() {
		units := min(a.GetWant(), m.free)
		m.free -= units
		m.grants++
		g := &meteringv1.LeaseGrant{
			Subscription: a.GetSubscription(), Meter: a.GetMeter(), Per: a.GetPer(), Units: units, ExpiresAt: time.Now().Add(time.Minute).UnixNano(),
			WindowStart: m.windowEnds.Add(-30 * 24 * time.Hour).UnixNano(), WindowEnd: m.windowEnds.UnixNano(), Quota: m.quota, Remaining: m.free,
			Exhausted: units == 0 && len(m.leases) == 0,
		}
		if units > 0 {
			g.Lease = fmt.Sprintf("%s-%d", req.GetGateway(), m.grants)
			m.leases[g.Lease] = units
		}
		reply.Grants = append(reply.Grants, g)
	}
	return reply
}
