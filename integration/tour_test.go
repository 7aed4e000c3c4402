package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
	"github.com/tollgate/tollgate/libs/testkit"
)

const (
	clients        = 8
	callsPerClient = 1250
)

// outcome is what the clients of the tour counted themselves.
type outcome struct {
	mu           sync.Mutex
	answered     int
	billable     int
	forecastDays int
	callIDs      map[string]bool // of billable calls
	statuses     map[int]int
}

func (o *outcome) add(t *testing.T, status int, callID string, billable bool, days int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	require.NotEmpty(t, callID, "status %d", status)
	o.answered++
	o.statuses[status]++
	if billable {
		require.False(t, o.callIDs[callID], "the call id %s was given twice", callID)
		o.callIDs[callID] = true
		o.billable++
		o.forecastDays += days
	}
}

// request is one kind of call of the tour.
type request struct {
	method, path, body, key string
	status                  int
	billable                bool
	days                    int
}

func kinds(key string) []request {
	return []request{
		{"GET", "/weather/v1/current/Berlin", "", key, 200, true, 0},
		{"GET", "/weather/v1/current/Atlantis", "", key, 404, true, 0}, // the upstream's answer: billable
		{"POST", "/weather/v1/forecasts", `{"cities":["Berlin","Paris"],"days":3}`, key, 200, true, 6},
		{"POST", "/weather/v1/forecasts", `{"cities":[],"days":3}`, key, 400, false, 0}, // refused by the gateway
		{"GET", "/weather/v1/current/Berlin?units=kelvin", "", key, 400, false, 0},      // refused by the gateway
		{"GET", "/weather/v1/nothing", "", key, 404, false, 0},                          // no such operation
		{"GET", "/weather/v1/current/Berlin", "", "tg_not-a-key", 401, false, 0},        // unknown key
		{"DELETE", "/weather/v1/current/Berlin", "", key, 405, false, 0},                // no such method
		{"GET", "/elsewhere", "", key, 404, false, 0},                                   // no such API
		{"GET", "/weather/v1/current/S%C3%A3o%20Paulo?units=metric", "", key, 200, true, 0},
	}
}

func TestTour(t *testing.T) {
	t.Parallel()
	s := harness.Up(t, harness.Dir(t), "--sample")
	api := harness.NewAPI(t, s.Admin, s.Token(t))
	key := subscribe(t, s, api)
	got := drive(t, s.Gateway, key)
	require.Equal(t, clients*callsPerClient, got.answered)
	t.Logf("answered by status: %v", got.statuses)

	awaitLanded(t, api, "acme-weather", got)
	day := time.Now().UTC()
	code, stdout, stderr := harness.CLI(t, s.Admin, s.Token(t), "reconcile", "--from", day.AddDate(0, 0, -1).Format(time.DateOnly), "--to", day.AddDate(0, 0, 2).Format(time.DateOnly))
	require.Equal(t, 0, code, "reconcile: %s%s", stdout, stderr)

	invoice := bill(t, s, api)
	checkInvoice(t, api, invoice, got)
}

// subscribe publishes a plan, makes a customer and approves their subscription; it returns the customer's key.
func subscribe(t *testing.T, s *harness.Suite, api *harness.API) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "acme.yaml"), []byte(`
apiVersion: tollgate/v1
kind: Plan
metadata: {name: metered, product: weather}
spec:
  title: Metered
  currency: EUR
  approval: required
  prices:
    - {name: calls, meter: calls, model: unit, unit: "0.0123"}
    - {name: forecast-days, meter: forecast-day, model: package, size: "100", unit: "0.25"}
---
apiVersion: tollgate/v1
kind: Account
metadata: {name: acme}
spec: {title: Acme, currency: EUR, country: FR}
---
apiVersion: tollgate/v1
kind: Application
metadata: {name: acme-app, account: acme}
spec: {title: Acme app}
`), 0o600))
	for range 2 { // twice: the second changes nothing
		code, stdout, stderr := harness.CLI(t, s.Admin, s.Token(t), "apply", "-f", dir)
		require.Equal(t, 0, code, stdout+stderr)
	}
	code, stdout, stderr := harness.CLI(t, s.Admin, s.Token(t), "diff", "-f", dir)
	require.Equal(t, 0, code, "nothing is left to change: %s%s", stdout, stderr)

	testkit.Await(t, 10*time.Second, func() error {
		status, body := api.Do("POST", "/subscription/v1/subscriptions", map[string]string{"name": "acme-weather", "application": "acme-app", "product": "weather", "plan": "metered"})
		if status >= 300 {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	var issued struct{ Key string }
	api.Must("POST", "/identity/v1/applications/acme-app/credentials", map[string]string{"title": "Live"}, &issued)
	awaitStatus(t, s.Gateway, issued.Key, 403) // requested, not yet approved
	api.Must("POST", "/subscription/v1/subscriptions/acme-weather/approve", map[string]string{}, nil)
	awaitStatus(t, s.Gateway, issued.Key, 200)
	return issued.Key
}

// probes are calls made while waiting for a change to arrive; those that succeed are billed too.
var probes = struct {
	mu       sync.Mutex
	billable map[string]int
}{billable: map[string]int{}}

func awaitStatus(t *testing.T, gateway, key string, want int) {
	t.Helper()
	testkit.Await(t, 10*time.Second, func() error {
		status, _, err := call(gateway, request{method: "GET", path: "/weather/v1/current/Berlin", key: key})
		if err != nil {
			return err
		}
		if status == 200 {
			probes.mu.Lock()
			probes.billable[key]++
			probes.mu.Unlock()
		}
		if status != want {
			return fmt.Errorf("status %d, want %d", status, want)
		}
		return nil
	})
}

var httpClient = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}}

func call(gateway string, r request) (status int, callID string, err error) {
	req, err := http.NewRequest(r.method, gateway+r.path, strings.NewReader(r.body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("X-API-Key", r.key)
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	response, err := httpClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, "", err
	}
	return response.StatusCode, response.Header.Get("Tollgate-Call-Id"), nil
}

// drive makes the calls of all clients at once.
func drive(t *testing.T, gateway, key string) *outcome {
	t.Helper()
	got := &outcome{callIDs: map[string]bool{}, statuses: map[int]int{}}
	all := kinds(key)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range callsPerClient {
				r := all[(c+i)%len(all)]
				status, id, err := call(gateway, r)
				if err != nil || status != r.status {
					t.Errorf("%s %s: status %d, want %d, %v", r.method, r.path, status, r.status, err)
					return
				}
				got.add(t, status, id, r.billable, r.days)
			}
		})
	}
	wg.Wait()
	require.False(t, t.Failed())
	probes.mu.Lock()
	defer probes.mu.Unlock()
	got.billable += probes.billable[key]
	return got
}

type callsPage struct {
	Items []struct {
		Call string `json:"call"`
	} `json:"items"`
	Next string `json:"next"`
}

// awaitLanded waits until the request log has every billable call of the subscription.
func awaitLanded(t *testing.T, api *harness.API, subscription string, got *outcome) {
	t.Helper()
	testkit.Await(t, 60*time.Second, func() error {
		landed, err := allCalls(t, api, "/analytics/v1/calls?billable=true&subscription="+subscription)
		if err == nil && len(landed) != got.billable {
			err = fmt.Errorf("%d of %d calls have landed", len(landed), got.billable)
		}
		return err
	})
}

// allCalls reads every page of the request log. An engine that is being started again is an error, for polling.
func allCalls(t *testing.T, api *harness.API, path string) (map[string]bool, error) {
	t.Helper()
	found := map[string]bool{}
	for cursor := ""; ; {
		var page callsPage
		if err := api.Try("GET", path+"&limit=200&cursor="+cursor, &page); err != nil {
			return nil, err
		}
		for _, c := range page.Items {
			require.False(t, found[c.Call], "%s is listed twice", c.Call)
			found[c.Call] = true
		}
		if cursor = page.Next; cursor == "" {
			return found, nil
		}
	}
}

type invoice struct {
	ID     string `json:"id"`
	Number string `json:"number"`
	State  string `json:"state"`
	Total  string `json:"total"`
	Lines  []struct {
		Line     int    `json:"line"`
		Price    string `json:"price"`
		Meter    string `json:"meter"`
		Quantity string `json:"quantity"`
		Amount   string `json:"amount"`
		Calls    uint64 `json:"calls"`
	} `json:"lines"`
}

// bill ends the subscription, so that its period ends now, and runs billing until the invoice is final.
func bill(t *testing.T, s *harness.Suite, api *harness.API) invoice {
	t.Helper()
	api.Must("POST", "/subscription/v1/subscriptions/acme-weather/cancel", map[string]string{}, nil, "Tollgate-Reason", "end of the tour")
	var list struct {
		Items []invoice `json:"items"`
	}
	testkit.Await(t, 60*time.Second, func() error {
		code, stdout, stderr := harness.CLI(t, s.Admin, s.Token(t), "bill", "run", "--period", time.Now().UTC().Format("2006-01"), "--output", "json")
		if code != 0 {
			return fmt.Errorf("bill run: %s%s", stdout, stderr)
		}
		if err := api.Try("GET", "/billing/v1/invoices?subscription=acme-weather", &list); err != nil {
			return err
		}
		if len(list.Items) != 1 || list.Items[0].State != "final" {
			return fmt.Errorf("invoices: %+v\n%s", list.Items, stdout)
		}
		return nil
	})
	var full invoice
	api.Must("GET", "/billing/v1/invoices/"+list.Items[0].ID, nil, &full)
	return full
}

func checkInvoice(t *testing.T, api *harness.API, inv invoice, got *outcome) {
	t.Helper()
	require.NotEmpty(t, inv.Number)
	quantities := map[string]string{}
	for _, line := range inv.Lines {
		quantities[line.Price] = line.Quantity
		var drill struct {
			Count     uint64 `json:"count"`
			CallsPath string `json:"callsPath"`
		}
		api.Must("GET", fmt.Sprintf("/billing/v1/invoices/%s/lines/%d/calls", inv.ID, line.Line), nil, &drill)
		require.Equal(t, line.Calls, drill.Count)
		found, err := allCalls(t, api, drill.CallsPath)
		require.NoError(t, err)
		require.Len(t, found, int(line.Calls), "the line %s leads to exactly its calls", line.Price)
		if line.Price == "calls" {
			for id := range got.callIDs {
				require.True(t, found[id], "%s was answered and is not behind the line", id)
			}
		}
	}
	require.Equal(t, strconv.Itoa(got.billable), quantities["calls"])
	require.Equal(t, strconv.Itoa(got.forecastDays), quantities["forecast-days"])
	encoded, err := json.Marshal(inv)
	require.NoError(t, err)
	t.Logf("invoice: %s", encoded)
}
