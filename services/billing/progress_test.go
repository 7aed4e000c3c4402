package billing_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

type period struct {
	Subscription, State, Cause, Detail string
	Number                             int
	Start, End                         time.Time
}

func (f *fixture) periods(query string) []period {
	f.tb.Helper()
	var page struct{ Items []period }
	f.client.Must("GET", "/billing/v1/periods?limit=200"+query, nil, &page)
	return page.Items
}

// stuck makes the usage of subscriptions fail by an error.
func (f *fixture) stuck(err error, names ...string) {
	ids := map[string]bool{}
	for _, name := range names {
		ids[subscriptionID(name)] = true
	}
	f.ledger.set(func(l *ledger) {
		l.refuse = func(id string) error {
			if ids[id] {
				return err
			}
			return nil
		}
	})
}

// TestWhatDoesNotAnswerHoldsUpNothingElse: more subscriptions are stuck than may fail in a row, and they come first.
func TestWhatDoesNotAnswerHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	for _, scheduled := range []bool{false, true} {
		t.Run(fmt.Sprintf("scheduled=%t", scheduled), func(t *testing.T) {
			t.Parallel()
			f := prepare(t)
			f.config.Manual, f.config.Schedule = !scheduled, 20*time.Millisecond
			f.plan("pro", 1, pro())
			const n = 7
			var names []string
			for i := range n {
				names = append(names, fmt.Sprintf("stuck%d", i))
				f.subscribe(names[i], "pro", january)
			}
			f.subscribe("good", "pro", january.Add(time.Hour))
			// The first period alone: the others would come in between.
			for _, name := range append(names, "good") {
				f.emit("subscription", "subscription", subscriptionID(name), 2, &subscriptionv1.SubscriptionCancelled{
					Subscription: subscriptionID(name), EndedAt: day("2026-01-20T00:00:00Z").UnixNano()})
			}
			f.stuck(problem.NewUnavailable("slow", "The counting takes too long."), names...)
			f.start(nil)
			var run runAnswer
			if !scheduled {
				f.client.Must("POST", "/billing/v1/runs", `{"period":"2026-01"}`, &run, "Tollgate-After", f.after)
			}
			testkit.Await(t, 30*time.Second, func() bool { return len(f.invoices("&state=final")) == 1 })
			require.Equal(t, "good", f.invoices("&state=final")[0].Subscription)
			if !scheduled {
				id := run.ID
				testkit.Await(t, 30*time.Second, func() error {
					run = runAnswer{}
					f.client.Must("GET", "/billing/v1/runs/"+id, nil, &run)
					if run.Waiting != "The counting takes too long." || run.Counts.Pending != n {
						return fmt.Errorf("%+v", run)
					}
					return nil
				})
			}
			f.stuck(nil)
			testkit.Await(t, 30*time.Second, func() bool { return len(f.invoices("&state=final")) == n+1 })
		})
	}
}

func TestARunThatGoesOnDoesNotWait(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	f.plan("pro", 1, pro())
	names := []string{"a", "b", "c", "d"}
	for _, name := range names {
		f.subscribe(name, "pro", january)
	}
	f.stuck(problem.NewUnavailable("slow", "Slow."), names...)
	var run runAnswer
	f.client.Must("POST", "/billing/v1/runs", `{"period":"2026-02"}`, &run, "Tollgate-After", f.after)
	id := run.ID
	waiting := func() string {
		run = runAnswer{}
		f.client.Must("GET", "/billing/v1/runs/"+id, nil, &run)
		return run.Waiting
	}
	testkit.Await(t, 20*time.Second, func() bool { return waiting() == "Slow." })
	// From now on periods are answered for one by one.
	asked, answer := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release)
	f.ledger.set(func(l *ledger) {
		l.before = func(name string) error {
			if name == "metering.Usage" {
				select {
				case asked <- struct{}{}:
					<-answer
				case <-answer:
				}
			}
			return nil
		}
	})
	<-asked
	f.stuck(nil)
	for range 2 { // the first may be the last of its turn, in which others had to wait
		answer <- struct{}{}
		<-asked
		if waiting() == "" {
			break
		}
	}
	require.Empty(t, run.Waiting)
	require.Positive(t, run.Counts.Pending)
	release()
	require.Equal(t, 4, f.await(run.ID).Counts.Finalized)
}

func TestWhatFailsOnScheduleIsShown(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	f.config.Manual, f.config.Schedule = false, 20*time.Millisecond
	f.plan("pro", 1, pro())
	id := f.subscribe("s", "pro", january)
	f.emit("subscription", "subscription", id, 2, &subscriptionv1.SubscriptionCancelled{Subscription: id, EndedAt: day("2026-01-20T00:00:00Z").UnixNano()})
	f.calls(id, 3, january)
	f.stuck(problem.NewDenied("refused", "Metering refuses."), "s")
	f.start(nil)
	testkit.Await(t, 20*time.Second, func() bool { return len(f.periods("&state=held")) == 1 })
	held := f.periods("&subscription=s")[0]
	require.Equal(t, "failed", held.Cause)
	require.Equal(t, "Metering refuses.", held.Detail)
	require.Equal(t, january, held.Start)
	require.Empty(t, f.invoices(""), "there was never a draft")

	f.ledger.set(func(l *ledger) { l.refuse, l.gaps = nil, 1 })
	testkit.Await(t, 20*time.Second, func() bool { return len(f.invoices("&state=held")) == 1 })
	require.Equal(t, "open-gap", f.invoices("")[0].Cause)
	f.stuck(problem.NewDenied("refused", "Metering refuses."), "s")
	testkit.Await(t, 20*time.Second, func() bool { return f.invoices("")[0].Cause == "failed" })
	require.Equal(t, "Metering refuses.", f.invoices("")[0].Detail, "the draft does not keep the cause from before")
	require.Empty(t, f.rebuilt(f.log()))
	f.ledger.set(func(l *ledger) { l.refuse, l.gaps = nil, 0 })
	testkit.Await(t, 20*time.Second, func() bool { return len(f.periods("&state=invoiced")) == 1 })
	require.Empty(t, f.periods("")[0].Cause)
	require.Equal(t, 400, f.client.Do("GET", "/billing/v1/periods?state=final", nil).Status)
	require.Equal(t, 400, f.client.Do("GET", "/billing/v1/periods?cursor=x", nil).Status)
}
