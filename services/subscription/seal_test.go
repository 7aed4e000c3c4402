package subscription_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	"github.com/tollgate/tollgate/services/subscription"
)

// TestAnotherSealKeyIsRefused: with it nobody could be told, and nothing would say so before somebody was to be.
func TestAnotherSealKeyIsRefused(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.putWebhook(t, "hook", `{"url":"https://hooks.example"}`)
	_, err := subscription.New(t.Context(), subscription.Config{
		Service: f.config, SealKey: base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32)),
	}, f.Deps(nil))
	require.ErrorContains(t, err, "seal-key: is not the one that the secrets of webhooks were sealed with")
}

// TestDocumentsDoNotWaitForNotifications: a secret that cannot be opened stops what is told, not what gateways know.
func TestDocumentsDoNotWaitForNotifications(t *testing.T) {
	t.Parallel()
	f := start(t)
	e := newEndpoint(t)
	e.sign(f.putWebhook(t, "hook", `{"url":"`+e.URL+`"}`).Secret)
	require.True(t, f.holds(t, `UPDATE webhook_secrets SET secret = sha256(secret) RETURNING true`))
	require.Equal(t, 201, f.request("globex-weather", "free").Status)
	f.entitlement(t, func(d *gatewayv1.EntitlementDocument) bool { return d.GetState() == "active" })
	require.Empty(t, e.all())
	var rotated struct{ Secret string }
	f.admin.Must("POST", webhooks+"/hook/rotate", nil, &rotated)
	e.sign(rotated.Secret)
	testkit.Await(t, 3*patience, func() bool { return len(e.types()) == 2 }) // the follower looks again every half a minute
}

// TestNotificationsGoOnWhereTheyWere: one follower did both before, and what it had told is not told again.
func TestNotificationsGoOnWhereTheyWere(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 201, f.request("globex-weather", "free").Status)
	testkit.Await(t, patience, func() bool {
		return f.holds(t, `SELECT count(*) = 2 FROM follow_offset, log_head WHERE name LIKE 'subscription-%' AND follow_offset.log = 'subscription' AND follow_offset.position = log_head.position`)
	})
	e := newEndpoint(t)
	e.sign(f.putWebhook(t, "hook", `{"url":"`+e.URL+`"}`).Secret)
	f.stop()
	require.True(t, f.holds(t, `DELETE FROM follow_offset WHERE name = 'subscription-notify' RETURNING true`))
	require.True(t, f.holds(t, `DELETE FROM tollgate_subscription_versions WHERE version_id >= 5 RETURNING true`))
	f.replica(t, nil)
	f.must(t, "POST", path+"/globex-weather/cancel", nil)
	testkit.Await(t, patience, func() bool { return len(e.types()) > 0 })
	require.True(t, f.holds(t, `SELECT count(*) = 1 FROM notify_outbox`))
	require.Equal(t, []string{"cancelled"}, e.types())
}
