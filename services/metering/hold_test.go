package metering_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

type hold struct {
	Kind, Gateway, Unsealed, Remedy string
	Boot, First, Last               uint64
	RefusedMessages                 int
	SealedUntil, SeenAt, Since      *time.Time
}

type holds struct {
	Sealed bool
	Holds  []hold
	Waived []struct {
		Gateway, By, Reason string
		Until, At           time.Time
	}
}

// What holds a period open is told with its evidence and its remedy, and agrees with what billing is told.
func TestWhatHoldsAPeriodOpen(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	end := began.AddDate(0, 1, 0)
	operator := f.Client(f.operator())
	look := func() (h holds) {
		operator.Must("GET", fmt.Sprintf("/metering/v1/periods/holds?from=%s&to=%s", began.Format(time.RFC3339Nano), end.Format(time.RFC3339Nano)), nil, &h)
		reply, err := f.usage(t, "s1", began, end)
		require.NoError(t, err)
		require.Equal(t, reply.GetSealed() && reply.GetOpenGaps() == 0, h.Sealed)
		return h
	}
	require.True(t, look().Sealed, "no gateway was ever heard of")
	behind, dead := f.gateway("gw1"), f.gateway("gw2")
	behind.send(t, call("s1", began.Add(time.Minute)))
	dead.seal(t, began.Add(time.Hour))
	h := look()
	require.False(t, h.Sealed)
	require.Len(t, h.Holds, 2)
	require.Equal(t, [...]any{"gateway", "gw1", "neverSealed", uint64(1)}, [...]any{h.Holds[0].Kind, h.Holds[0].Gateway, h.Holds[0].Unsealed, h.Holds[0].Boot})
	require.Nil(t, h.Holds[0].SealedUntil)
	require.NotNil(t, h.Holds[0].Since)
	require.True(t, began.Add(time.Hour).Equal(*h.Holds[1].SealedUntil))

	// Calls that are missing, perhaps because a message contradicts itself.
	wrong := behind.batch(call("s1", began.Add(time.Minute)))
	wrong.Calls[0].CallUnits = "many"
	f.metered(t, wrong)
	behind.send(t, call("s1", began.Add(2*time.Minute)))
	behind.seal(t, end)
	h = look()
	require.Len(t, h.Holds, 2)
	require.Equal(t, "gw2", h.Holds[0].Gateway)
	gap := h.Holds[1]
	require.Equal(t, [...]any{"gap", "gw1", uint64(2), uint64(2), 1}, [...]any{gap.Kind, gap.Gateway, gap.First, gap.Last, gap.RefusedMessages})
	require.Contains(t, gap.Remedy, "contradict themselves")

	// An operator gives the dead one up, and the missing call.
	f.clock.Set(end.Add(time.Hour))
	for _, name := range []string{"gw1", "gw2"} {
		operator.Must("POST", "/metering/v1/gateways/"+name+"/waive", fmt.Sprintf(`{"until":%q,"reason":"the disk of %s is gone"}`, end.Format(time.RFC3339Nano), name), nil)
	}
	h = look()
	require.True(t, h.Sealed)
	require.Empty(t, h.Holds)
	require.Len(t, h.Waived, 2)
	require.Equal(t, [...]string{"gw2", "member:operator", "the disk of gw2 is gone"}, [...]string{h.Waived[1].Gateway, h.Waived[1].By, h.Waived[1].Reason})
	require.True(t, end.Equal(h.Waived[1].Until))
	require.EqualValues(t, 2, query[int64](t, f.db, `SELECT count(*) FROM events WHERE type = 'metering.v1.GatewayWaived' AND meta->>'actor' = 'member:operator' AND meta->>'reason' LIKE 'the disk of gw_ is gone'`))

	var gateways struct {
		Items []struct {
			Gateway, Unsealed   string
			FirstSeenAt, SeenAt time.Time
			Waiver              *struct{ Reason string }
			Boots               []struct {
				FirstSeenAt, SealedAt *time.Time
				Missing               []struct{ First, Last uint64 }
			}
		}
	}
	operator.Must("GET", "/metering/v1/gateways", nil, &gateways)
	require.Len(t, gateways.Items, 2)
	gw1 := gateways.Items[0]
	require.NotNil(t, gw1.Waiver)
	require.False(t, gw1.SeenAt.Before(gw1.FirstSeenAt))
	require.NotNil(t, gw1.Boots[0].FirstSeenAt)
	require.NotNil(t, gw1.Boots[0].SealedAt)
	require.EqualValues(t, 2, gw1.Boots[0].Missing[0].First)
	var gaps struct {
		Items []struct {
			NoticedAt time.Time
			Waived    bool
		}
	}
	testkit.Await(t, patience, func() bool {
		operator.Must("GET", "/metering/v1/gaps", nil, &gaps)
		return len(gaps.Items) == 1
	})
	require.True(t, gaps.Items[0].Waived)

	// A later period is not concerned by the waiver.
	var later holds
	operator.Must("GET", fmt.Sprintf("/metering/v1/periods/holds?from=%s&to=%s", end.Format(time.RFC3339Nano), end.AddDate(0, 1, 0).Format(time.RFC3339Nano)), nil, &later)
	require.False(t, later.Sealed)
	require.Empty(t, later.Waived)
	require.Equal(t, 400, operator.Do("GET", "/metering/v1/periods/holds?from=2026-03-01T00:00:00Z&to=2026-03-01T00:00:00Z", nil).Status)
	require.Equal(t, 403, f.Client(f.Token(tenant, "metering.read")).Do("GET", "/metering/v1/periods/holds?from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z", nil).Status)
}
