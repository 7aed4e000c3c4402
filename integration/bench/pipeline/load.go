package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/libs/operation"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
)

// call sends one call and wants a success.
func (s *suite) call(client *http.Client, key string) error {
	r, err := http.NewRequest(http.MethodGet, s.gateway+"/bench/item", nil) //nolint:noctx // the client has a time limit, and an answer is waited for
	if err != nil {
		return err
	}
	r.Header.Set("X-API-Key", key)
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	return nil
}

// load sends calls until ctx ends: each connection has its share of the rate.
func (s *suite) load(ctx context.Context, o options, answered *atomic.Int64) error {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: o.connections, MaxConnsPerHost: o.connections}}
	defer client.CloseIdleConnections()
	var pace time.Duration
	if o.rate > 0 {
		pace = time.Duration(o.connections) * time.Second / time.Duration(o.rate)
	}
	var group errgroup.Group
	for i := range o.connections {
		group.Go(func() error {
			next := time.Now().Add(pace * time.Duration(i) / time.Duration(o.connections))
			for ctx.Err() == nil {
				if pace > 0 {
					time.Sleep(time.Until(next))
					next = next.Add(pace)
				}
				if err := s.call(client, s.key); err != nil {
					return err
				}
				answered.Add(1)
			}
			return nil
		})
	}
	return group.Wait()
}

// probe is how late one call arrived.
type probe struct{ landed, metered time.Duration }

// poll is how often it is looked whether a call has arrived: the measurement is that coarse.
const poll = 10 * time.Millisecond

// probe sends calls of the second subscription, one after the other, until ctx ends.
func (s *suite) probe(ctx context.Context) (probes []probe) {
	client := &http.Client{Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	for n := uint64(2); ctx.Err() == nil; n++ { // the first one was made before the load
		if err := s.call(client, s.probeKey); err != nil {
			return probes
		}
		answered := time.Now()
		var p probe
		var waits sync.WaitGroup
		var failed atomic.Bool
		for service, lag := range map[string]*time.Duration{"analytics": &p.landed, "metering": &p.metered} {
			waits.Go(func() {
				err := s.await(ctx, service, s.probeSubscription, n)
				*lag = time.Since(answered)
				failed.CompareAndSwap(false, err != nil)
			})
		}
		waits.Wait()
		if !failed.Load() {
			probes = append(probes, p)
		}
	}
	return probes
}

// await waits until a service has counted n calls of a subscription.
func (s *suite) await(ctx context.Context, service, subscription string, n uint64) error {
	for {
		count, err := s.count(ctx, service, subscription)
		if err == nil && count >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(poll):
		}
	}
}

// count asks how many calls of a subscription landed (analytics), or were metered (metering).
func (s *suite) count(ctx context.Context, service, subscription string) (uint64, error) {
	var reply meteringv1.CountReply
	now := time.Now()
	err := operation.Call(ctx, s.bus, service+".Count", &meteringv1.CountRequest{
		Tenant: "*", Subscription: subscription, Start: now.Add(-time.Hour).UnixNano(), End: now.Add(time.Hour).UnixNano(),
	}, &reply)
	return reply.GetCounts().GetBillable(), err
}

// settle waits until everything that was answered has arrived everywhere, and has the four counters compared.
func (s *suite) settle(ctx context.Context, answered int64, since time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for _, service := range []string{"analytics", "metering"} {
		if err := s.await(ctx, service, s.subscription, uint64(answered)); err != nil {
			return fmt.Errorf("%d calls were answered, but not all arrived at %s: %w", answered, service, err)
		}
		fmt.Printf("all arrived at %s within %v of the load's end\n", service, time.Since(since).Round(10*time.Millisecond))
	}
	for _, service := range []string{"analytics", "metering"} {
		if count, err := s.count(ctx, service, s.subscription); err != nil || count != uint64(answered) {
			return fmt.Errorf("%d calls were answered, %d are at %s: %w", answered, count, service, err)
		}
	}
	var proof analyticsv1.ProofReply
	err := operation.Call(ctx, s.bus, "analytics.Proof", &analyticsv1.ProofRequest{
		Tenant: "*", Start: since.Add(-time.Hour).UnixNano(), End: since.Add(time.Hour).UnixNano(),
	}, &proof)
	if err != nil {
		return err
	}
	fmt.Printf("answered %d, stored %d, landed %d, metered %d: agree %v\n", proof.GetAnswered(), proof.GetStored(), proof.GetLanded(), proof.GetMetered(), proof.GetAgree())
	if !proof.GetAgree() {
		return fmt.Errorf("the counters differ: %v", proof.GetDifferences())
	}
	return nil
}
