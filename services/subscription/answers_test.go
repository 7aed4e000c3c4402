package subscription_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/testkit"
)

// TestAnswersAreKeptWithoutAddresses: what is kept for repeated commands holds no address, which would outlive its recipient.
func TestAnswersAreKeptWithoutAddresses(t *testing.T) {
	t.Parallel()
	f := start(t)
	const held = `SELECT EXISTS (SELECT FROM commands WHERE response::text LIKE '%@acme.example%')`
	const resource = `{"resources":[{"apiVersion":"tollgate/v1","kind":"MailRecipient","metadata":{"name":"ops"},"spec":{"address":"b@acme.example"}}]}`
	put := func() string {
		return f.admin.Must("PUT", recipients+"/ops", `{"address":"a@acme.example"}`, nil, operation.HeaderIdempotencyKey, "put").Body
	}
	apply := func() string {
		return f.admin.Must("POST", "/subscription/v1/apply", resource, nil, operation.HeaderIdempotencyKey, "apply").Body
	}
	first := put()
	require.Contains(t, first, "a@acme.example")
	require.Equal(t, first, put(), "the request says it again")
	changes := apply()
	require.Contains(t, changes, "a@acme.example")
	require.Contains(t, changes, "b@acme.example")
	require.False(t, f.holds(t, held))
	require.Contains(t, apply(), `"action":"changed"`)
	require.NotContains(t, apply(), "@acme.example")
	f.admin.Must("DELETE", recipients+"/ops", nil, nil)
	require.False(t, f.holds(t, held))
}

// TestAnswersOfBefore brings a database up to date in which answers with addresses are kept.
func TestAnswersOfBefore(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.holds(t, `INSERT INTO commands (tenant_id, key, request_hash, response, position, recorded_at) VALUES ('t1', 'k', '', '{"changes":[{"kind":"MailRecipient","before":{"address":"a\"b@acme.example","account":"x"},"after":{"address":"c@acme.example"}}]}', 1, now()) RETURNING true`)
	f.holds(t, `DELETE FROM tollgate_subscription_versions WHERE version_id >= 4 RETURNING true`)
	f.replica(t, nil)
	require.True(t, f.holds(t, `SELECT response::text = '{"changes":[{"kind":"MailRecipient","before":{"address":"","account":"x"},"after":{"address":""}}]}' FROM commands WHERE key = 'k'`))
}

// TestAnswersAreForgotten: a repeated command answers as the first did for thirty days, in every service.
func TestAnswersAreForgotten(t *testing.T) {
	t.Parallel()
	clock := testkit.NewClock(time.Now())
	f := startAt(t, clock.Now)
	require.Equal(t, 201, f.do("POST", path, `{"name":"one","application":"globex-app","plan":"free"}`, operation.HeaderIdempotencyKey, "k").Status)
	const held = `SELECT EXISTS (SELECT FROM commands WHERE key = 'k')`
	clock.Advance(29 * 24 * time.Hour)
	f.holds(t, `INSERT INTO commands (tenant_id, key, request_hash, response, position, recorded_at) VALUES ('t1', 'later', '', 'null', 1, '`+clock.Now().Format(time.RFC3339)+`') RETURNING true`)
	clock.Advance(2 * 24 * time.Hour)
	testkit.Await(t, patience, func() bool { return !f.holds(t, held) })
	require.True(t, f.holds(t, `SELECT EXISTS (SELECT FROM commands WHERE key = 'later')`))
}
