package integration_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
	"github.com/tollgate/tollgate/libs/testkit"
)

// answeredCalls collects the ids of calls whose answer a client saw whole.
type answeredCalls struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (a *answeredCalls) add(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids[id] = true
}

func (a *answeredCalls) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.ids)
}

// TestGatewayKilledUnderLoad: the gateway is killed ten times at random moments under load. Every call that a client saw
// answered is in ClickHouse once and metered once.
func TestGatewayKilledUnderLoad(t *testing.T) {
	t.Parallel()
	s := harness.Up(t, harness.Dir(t), "--sample")
	journal := harness.Dir(t)
	g := harness.StartGateway(t, s.Ready, "victim", journal)
	key := harness.SampleKey(t, s)
	awaitStatus(t, g.Address, key, 200)
	seen := &answeredCalls{ids: map[string]bool{}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { load(g.Address, key, seen, stop, 0) })
	}
	for range 10 {
		select {
		case <-time.After(time.Duration(200+rand.IntN(800)) * time.Millisecond):
		case <-t.Context().Done():
		}
		g.Kill(t)
		g = g.Restart(t)
	}
	close(stop)
	wg.Wait()
	g.Stop(t)
	require.Greater(t, len(seen.ids), 100)
	t.Logf("%d calls were seen answered over ten kills", len(seen.ids))
	checkEachOnce(t, harness.NewAPI(t, s.Admin, s.Token(t)), "globex-weather", seen)
}

// load calls until stop is closed, with a pause after each; errors are what a killed gateway's clients see.
func load(address, key string, seen *answeredCalls, stop <-chan struct{}, pause time.Duration) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(pause):
		}
		status, id, err := call(address, request{method: "GET", path: "/weather/v1/current/Berlin", key: key})
		if err == nil && status == 200 {
			seen.add(id)
		}
	}
}

// checkEachOnce compares what clients saw with ClickHouse and with metering.
func checkEachOnce(t *testing.T, api *harness.API, subscription string, seen *answeredCalls) {
	t.Helper()
	testkit.Await(t, 3*time.Minute, func() error {
		landed, err := allCalls(t, api, "/analytics/v1/calls?subscription="+subscription)
		if err != nil {
			return err
		}
		var missing []string
		for id := range seen.ids {
			if !landed[id] {
				missing = append(missing, id)
			}
		}
		if len(missing) > 0 {
			slices.Sort(missing)
			return fmt.Errorf("%d of %d answered calls have not landed: %s", len(missing), len(seen.ids), missing[:min(len(missing), 50)])
		}
		return nil
	})
	day := time.Now().UTC()
	from, to := day.AddDate(0, 0, -1).Format(time.RFC3339), day.AddDate(0, 0, 1).Format(time.RFC3339)
	var report struct {
		Agree       bool     `json:"agree"`
		Landed      uint64   `json:"landed"`
		Metered     uint64   `json:"metered"`
		Answered    uint64   `json:"answered"`
		Stored      uint64   `json:"stored"`
		Differences []string `json:"differences"`
	}
	testkit.Await(t, 60*time.Second, func() error {
		if err := api.Try("GET", "/analytics/v1/reconciliation?from="+from+"&to="+to, &report); err != nil {
			return err
		}
		if !report.Agree {
			return fmt.Errorf("%+v", report)
		}
		return nil
	})
	require.Equal(t, report.Landed, report.Metered)
	require.GreaterOrEqual(t, report.Landed, uint64(len(seen.ids)))
	t.Logf("answered %d, stored %d, landed %d, metered %d", report.Answered, report.Stored, report.Landed, report.Metered)
}
