package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

func TestACallFromKeyToRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.standard()
	g := w.start(w.config(t.TempDir()))
	got := g.do("GET", "/weather/v1/current/rome?units=metric", nil, "Authorization", "Bearer "+apiKey, "User-Agent", "agent/1", "X-Forwarded-For", "6.6.6.6",
		"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "Connection", "X-Drop", "X-Drop", "1", "Tollgate-Tenant", "x")
	e := got.echoed(t)
	require.Equal(t, "/current/rome?units=metric", e.URI)
	require.Equal(t, w.target.Listener.Addr().String(), e.Host)
	require.Equal(t, "127.0.0.1", e.Headers.Get("X-Forwarded-For"))
	require.Equal(t, g.Addr(), e.Headers.Get("X-Forwarded-Host"))
	require.Equal(t, `for=127.0.0.1;host="`+g.Addr()+`";proto=http`, e.Headers.Get("Forwarded"))
	for _, dropped := range []string{"Authorization", "X-Drop", "Connection", "Tollgate-Tenant"} {
		require.Empty(t, e.Headers.Get(dropped), dropped)
	}
	record := w.record(got)
	require.True(t, record.GetBillable())
	require.Equal(t, callsv1.Reason_REASON_UNSPECIFIED, record.GetReason())
	require.Equal(t, callsv1.Responder_RESPONDER_UPSTREAM, record.GetResponder())
	for field, pair := range map[string][2]string{
		"tenant": {record.GetTenant(), "t1"}, "api": {record.GetApi(), "weather"}, "version": {record.GetApiVersion(), "weather-v1"}, "operation": {record.GetOperation(), "getCurrent"},
		"account": {record.GetAccount(), "acc1"}, "application": {record.GetApplication(), "app1"}, "credential": {record.GetCredential(), "cred1"},
		"subscription": {record.GetSubscription(), "sub1"}, "product": {record.GetProduct(), "p1"}, "plan": {record.GetPlan(), "plan1"},
		"method": {record.GetMethod(), "GET"}, "host": {record.GetHost(), "127.0.0.1"}, "template": {record.GetPathTemplate(), "/weather/v1/current/{city}"},
		"path": {record.GetPath(), "/weather/v1/current/rome"}, "target": {record.GetTarget(), w.target.URL}, "client": {record.GetClientAddress(), "127.0.0.1"},
		"agent": {record.GetUserAgent(), "agent/1"}, "trace": {record.GetTraceId(), "4bf92f3577b34da6a3ce929d0e0e4736"},
	} {
		require.Equal(t, pair[1], pair[0], field)
	}
	require.Equal(t, uint32(200), record.GetStatus())
	require.Equal(t, uint32(3), record.GetPlanVersion())
	require.Equal(t, uint64(1), record.GetApiRevision())
	require.Equal(t, uint64(2), record.GetEntitlementRevision())
	require.Equal(t, uint64(len(got.body)), record.GetBytesOut())
	require.Equal(t, uint32(1), record.GetAttempts())
	require.LessOrEqual(t, record.GetStartedAt(), record.GetCompletedAt())
}
