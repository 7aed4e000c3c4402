package eventlog_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSource(t, 5)
	insertUnknown(t, s)
	s.grow(t, "after", 1)
	follower := s.follower(t, followerDB(t), nil)
	start(t, follower.Run)
	waitFor(t, follower, 7)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.relay, follower)
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP tollgate_follower_failing 1 when the follower does not get on.
# TYPE tollgate_follower_failing gauge
tollgate_follower_failing{follower="plans",log="catalog"} 0
# HELP tollgate_follower_position Position up to which the log is applied.
# TYPE tollgate_follower_position gauge
tollgate_follower_position{follower="plans",log="catalog"} 7
# HELP tollgate_follower_skipped_total Events passed over because their type is unknown.
# TYPE tollgate_follower_skipped_total counter
tollgate_follower_skipped_total{follower="plans",log="catalog"} 1
# HELP tollgate_relay_published_total Events published to the replica.
# TYPE tollgate_relay_published_total counter
tollgate_relay_published_total{log="catalog"} 7
`), "tollgate_follower_failing", "tollgate_follower_position", "tollgate_follower_skipped_total", "tollgate_relay_published_total"))
}
