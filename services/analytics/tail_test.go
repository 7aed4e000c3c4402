package analytics_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

type tail struct {
	Items []struct {
		Call string `json:"call"`
	} `json:"items"`
	Skipped int    `json:"skipped"`
	Next    string `json:"next"`
}

func (f *fixture) tail(t testing.TB, query, cursor string) ([]string, tail) {
	t.Helper()
	var got tail
	f.client.Must("GET", "/analytics/v1/calls/tail?"+query+"&cursor="+url.QueryEscape(cursor), nil, &got)
	ids := []string{}
	for _, c := range got.Items {
		ids = append(ids, c.Call)
	}
	return ids, got
}

// TestATailShowsEachCallOnce: calls are shown as they are landed, whichever way and in whichever order they come.
func TestATailShowsEachCallOnce(t *testing.T) {
	t.Parallel()
	f := start(t)
	one, two := f.gateway("gw1"), f.gateway("gw2")
	one.send(t, call("s1", noon))
	ids, begun := f.tail(t, "wait=0s", "")
	require.Empty(t, ids, "a tail begins now")

	one.send(t, call("s1", noon.Add(2)), call("s1", noon.Add(1)), call("s1", noon.Add(3), func(c *callsv1.CallRecord) { c.Tenant = stranger }))
	ids, first := f.tail(t, "", begun.Next)
	require.Equal(t, []string{"gw1.1.3", "gw1.1.2"}, ids, "in the order of their completion")
	repeated := two.send(t, call("s1", noon.AddDate(0, -1, 0))) // long ago
	f.await(t, f.publish(t, repeated))
	ids, second := f.tail(t, "", first.Next)
	require.Equal(t, []string{"gw2.1.1"}, ids)
	ids, _ = f.tail(t, "wait=0s", second.Next)
	require.Empty(t, ids)
	ids, all := f.tail(t, "limit=2", begun.Next)
	require.Equal(t, []string{"gw1.1.3", "gw1.1.2"}, ids, "the newest")
	require.Equal(t, 1, all.Skipped)
	ids, _ = f.tail(t, "search=tokyo&wait=0s", begun.Next)
	require.Empty(t, ids)

	waiting := make(chan []string)
	go func() {
		ids, _ := f.tail(t, "wait=20s&status=418", second.Next)
		waiting <- ids
	}()
	one.send(t, call("s1", noon), call("s1", noon.Add(1), func(c *callsv1.CallRecord) { c.Status = 418 }))
	require.Equal(t, []string{"gw1.1.6"}, <-waiting)

	require.Contains(t, f.client.Do("GET", "/analytics/v1/calls/tail?cursor=x", nil).Body, "is not the next of a tail before")
	old := strings.Replace(begun.Next, begun.Next[:strings.IndexByte(begun.Next, '.')], "1773000000", 1)
	require.Contains(t, f.client.Do("GET", "/analytics/v1/calls/tail?cursor="+old, nil).Body, "cursor-expired")
}

// TestATenantLeavesTailsToOthers: a tenant whose tails wait takes no place from another one.
func TestATenantLeavesTailsToOthers(t *testing.T) {
	t.Parallel()
	f := start(t)
	const most = 12
	_, begun := f.tail(t, "wait=0s", "")
	done := make(chan struct{})
	for range most {
		go func() {
			defer func() { done <- struct{}{} }()
			for { // the probe below may have had the place
				answer := f.client.Do("GET", "/analytics/v1/calls/tail?status=418&cursor="+url.QueryEscape(begun.Next), nil)
				if strings.Contains(answer.Body, "gw1.1.1") || answer.Status != 200 && answer.Status != 503 {
					return
				}
			}
		}()
	}
	other := f.Client(f.Token(stranger, "analytics.read"))
	testkit.Await(t, patience, func() bool {
		answer := f.client.Do("GET", "/analytics/v1/calls/tail?wait=0s", nil)
		return answer.Status == 503 && strings.Contains(answer.Body, "too-many-tails")
	})
	require.Equal(t, 200, other.Do("GET", "/analytics/v1/calls/tail?wait=0s", nil).Status)
	f.gateway("gw1").send(t, call("s1", noon, func(c *callsv1.CallRecord) { c.Status = 418 }))
	for range most {
		<-done
	}
}
