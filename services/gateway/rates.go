package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

const (
	// shareInterval is how often gateways tell each other what passed under rate limits.
	shareInterval = 100 * time.Millisecond
	// maxShared is how many limits one message speaks of: some 100 bytes each, far below what NATS takes.
	maxShared = 4000
)

// shareRates tells the other gateways what passed under rate limits, and counts what they tell, until ctx ends. Over core NATS:
// a message that is lost makes the limit less sharp for a moment, a late one is of no use.
func (g *Gateway) shareRates(ctx context.Context) error {
	conn := g.deps.Bus.Conn
	sub, err := conn.Subscribe(bus.RatesSubject, g.countShared)
	if err != nil {
		return fmt.Errorf("share rate limits: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only where the connection is closed
	tick := time.NewTicker(shareInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		taken := g.rates.Taken(maxShared)
		if len(taken) == 0 || !conn.IsConnected() {
			continue // alone, each gateway allows the whole limit
		}
		data, err := proto.Marshal(&gatewayv1.RateConsumption{Gateway: g.config.Name, Taken: taken})
		if err == nil {
			err = conn.Publish(bus.RatesSubject, data)
		}
		if err != nil {
			g.deps.Log.Debug("consumption of rate limits is not shared", "error", err)
		}
	}
}

func (g *Gateway) countShared(m *nats.Msg) {
	var c gatewayv1.RateConsumption
	if err := proto.Unmarshal(m.Data, &c); err != nil || c.GetGateway() == g.config.Name {
		return
	}
	g.rates.Share(c.GetTaken(), time.Now())
}
