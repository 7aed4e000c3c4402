package app

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// TestOnlyDividedHoursAreReadAgain: of a month only the messages of its first and its last hour, each by itself, and only where a
// count lies across an end.
func TestOnlyDividedHoursAreReadAgain(t *testing.T) {
	t.Parallel()
	const hour = int64(time.Hour)
	span := clickhouse.Span{Start: 10*hour + 30, End: 700*hour + 30}
	count := func(subscription string, partition int, begin, first, last, from, to int64) store.Stored {
		return store.Stored{
			Tenant: "acme", Subscription: subscription, Partition: partition, Hour: begin, Calls: 1, Digest: 7,
			FirstCompleted: first, LastCompleted: last, FirstSequence: from, LastSequence: to,
		}
	}
	within, again := divideHours([]store.Stored{
		count("s1", 0, 10*hour, 10*hour, 10*hour+29, 1, 5),             // before it
		count("s1", 0, 10*hour+30, 10*hour+30, 10*hour+99, 2, 6),       // behind its start, by a count of its own
		count("s2", 0, 10*hour, 10*hour, 10*hour+99, 100, 200),         // across the start
		count("s3", 0, 10*hour, 10*hour+1, 10*hour+30, 90, 120),        // as well
		count("s2", 1, 10*hour, 10*hour+40, 10*hour+99, 300, 400),      // in another partition
		count("s2", 0, 700*hour, 700*hour, 700*hour+99, 90000, 90100),  // across the end
		count("s2", 0, 700*hour+20, 700*hour+20, 700*hour+29, 1, 2000), // some of its hour may be in that
		count("s1", 0, 700*hour, 700*hour, 700*hour+29, 90000, 90100),
		count("s1", 0, 700*hour+30, 700*hour+30, 700*hour+99, 90000, 90100), // behind it
	}, span)
	require.Equal(t, tally{3, 21}, within)
	require.Equal(t, []recount{
		{0, 0, 10 * hour, 90, 200, map[storedKey]bool{{"acme", "s2", 10 * hour}: true, {"acme", "s3", 10 * hour}: true}},
		{0, 0, 700 * hour, 1, 90100, map[storedKey]bool{{"acme", "s2", 700 * hour}: true}},
	}, again)
}

// TestCountsBeginWhereAnHourIsDivided.
func TestCountsBeginWhereAnHourIsDivided(t *testing.T) {
	t.Parallel()
	const hour = int64(time.Hour)
	d := divisions{"s1": {{Subscription: "s1", At: 3*hour + 20, Hourly: true}, {Subscription: "s1", At: 9*hour + 50}}}
	for completed, want := range map[int64]int64{
		9 * hour: 9 * hour, 9*hour + 19: 9 * hour, 9*hour + 20: 9*hour + 20, 9*hour + 49: 9*hour + 20, 9*hour + 50: 9*hour + 50, 10*hour - 1: 9*hour + 50,
		10 * hour: 10 * hour, 10*hour + 60: 10*hour + 20,
	} {
		require.Equal(t, want, d.begin("s1", completed), "%d", completed)
		require.Equal(t, hourOf(completed), d.begin("s2", completed))
	}
}
