package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
)

func TestShare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                 string
		balance              domain.Balance
		want, need, gateways int64
		share                int64
	}{
		{"as wanted while plenty remains", domain.Balance{Quota: 1000}, 10, 1, 3, 10},
		{"less as less remains", domain.Balance{Quota: 1000, Spent: 880}, 100, 1, 3, 10},
		{"single units near zero", domain.Balance{Quota: 1000, Spent: 995}, 100, 1, 3, 1},
		{"what one call needs", domain.Balance{Quota: 1000, Spent: 980}, 100, 7, 3, 7},
		{"the last unit", domain.Balance{Quota: 1000, Spent: 999}, 5, 1, 3, 1},
		{"none beyond it", domain.Balance{Quota: 1000, Spent: 990, Leased: 10}, 5, 1, 3, 0},
		{"none of what was spent without a lease", domain.Balance{Quota: 10, Unleased: 10}, 5, 1, 1, 0},
		{"overdrawn without a lease", domain.Balance{Quota: 10, Unleased: 15}, 5, 1, 1, 0},
		{"no gateway was heard of", domain.Balance{Quota: 8}, 5, 1, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.share, c.balance.Share(c.want, c.need, c.gateways))
		})
	}
}

func TestASmallerQuotaGrantsNothingUntilEnoughIsFree(t *testing.T) {
	t.Parallel()
	b := domain.Balance{Quota: 100, Ceiling: 100}
	b, l, err := domain.Grant(b, 60)
	require.NoError(t, err)
	b = b.WithQuota(50)
	require.EqualValues(t, 60, b.Ceiling)
	require.Zero(t, b.Remaining())
	b, l = domain.Return(b, l, 20)
	require.EqualValues(t, 30, b.Remaining())
	b, _ = domain.Spend(b, l, 20)
	require.Equal(t, domain.Balance{Quota: 50, Ceiling: 60, Spent: 20}, b)
}

func TestASecondReturnChangesNothing(t *testing.T) {
	t.Parallel()
	b, l, err := domain.Grant(domain.Balance{Quota: 10, Ceiling: 10}, 10)
	require.NoError(t, err)
	b, l = domain.Return(b, l, 4)
	again, same := domain.Return(b, l, 0)
	require.Equal(t, b, again)
	require.Equal(t, l, same)
	require.EqualValues(t, 4, b.Leased)
}

// Whatever gateways, calls, plan changes and losses do: what is spent on leases and leased out stays within the quota in force when
// it was granted, units are conserved, and all are free again when everything is over.
func TestQuotaNeverOvershoots(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		quota := rapid.Int64Range(0, 50).Draw(t, "quota")
		b := domain.Balance{Quota: quota, Ceiling: quota}
		var leases []domain.Lease
		largest := quota
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			step := rapid.SampledFrom([]string{"grant", "grant", "spend", "spend", "return", "give up", "change"}).Draw(t, "step")
			if step == "grant" {
				before := b
				units := b.Share(rapid.Int64Range(1, 20).Draw(t, "want"), rapid.Int64Range(1, 3).Draw(t, "need"), rapid.Int64Range(0, 3).Draw(t, "gateways"))
				if units == 0 {
					require.Zero(t, b.Remaining())
					continue
				}
				var l domain.Lease
				var err error
				b, l, err = domain.Grant(b, units)
				require.NoError(t, err)
				require.LessOrEqual(t, b.Spent+b.Leased+b.Unleased, b.Quota, "a grant never exceeds the quota")
				require.Equal(t, before.Remaining()-units, b.Remaining())
				leases = append(leases, l)
			} else if step == "change" {
				quota = rapid.Int64Range(0, 50).Draw(t, "new quota")
				largest = max(largest, quota)
				b = b.WithQuota(quota)
			} else if len(leases) > 0 {
				i := rapid.IntRange(0, len(leases)-1).Draw(t, "lease")
				switch step {
				case "spend":
					b, leases[i] = domain.Spend(b, leases[i], rapid.Int64Range(0, 8).Draw(t, "units"))
				case "return":
					b, leases[i] = domain.Return(b, leases[i], rapid.Int64Range(-1, 22).Draw(t, "promised"))
				case "give up":
					b, leases[i] = domain.GiveUp(b, leases[i])
				}
			}
			outstanding := int64(0)
			for _, l := range leases {
				require.GreaterOrEqual(t, l.Outstanding(), int64(0))
				require.LessOrEqual(t, l.Spent, l.Granted)
				outstanding += l.Outstanding()
			}
			require.Equal(t, outstanding, b.Leased)
			require.LessOrEqual(t, b.Spent+b.Leased, b.Ceiling)
			require.LessOrEqual(t, b.Ceiling, largest)
		}
		for _, l := range leases {
			b, _ = domain.GiveUp(b, l)
		}
		require.Zero(t, b.Leased)
	})
}

func TestGrantRefusesWhatDoesNotRemain(t *testing.T) {
	t.Parallel()
	for _, units := range []int64{0, -1, 11} {
		_, _, err := domain.Grant(domain.Balance{Quota: 10, Ceiling: 10}, units)
		require.ErrorContains(t, err, "cannot be leased")
	}
}

func TestSeals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		gateway domain.Gateway
		sealed  bool
	}{
		{"nothing is known", domain.Gateway{}, false},
		{"sealed before", domain.Gateway{Boots: []domain.Boot{{SealedUntil: 99}}}, false},
		{"sealed", domain.Gateway{Boots: []domain.Boot{{SealedUntil: 100}}}, true},
		{"an earlier boot is open", domain.Gateway{Boots: []domain.Boot{{SealedUntil: 50}, {SealedUntil: 200}}}, false},
		{"an earlier boot is closed", domain.Gateway{Boots: []domain.Boot{{SealedUntil: 50, ClosedAt: 60}, {SealedUntil: 200}}}, true},
		{"closed for good", domain.Gateway{Boots: []domain.Boot{{SealedUntil: 50, ClosedAt: 60}}}, true},
		{"waived", domain.Gateway{WaivedUntil: 100, Boots: []domain.Boot{{SealedUntil: 50}}}, true},
		{"waived before", domain.Gateway{WaivedUntil: 99, Boots: []domain.Boot{{SealedUntil: 50}}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.sealed, c.gateway.Sealed(100))
		})
	}
}

func TestUnitsAreRoundedUp(t *testing.T) {
	t.Parallel()
	for quantity, want := range map[string]string{
		"0": "0", "0.000000000001": "1", "1": "1", "1.0": "1", "1.5": "2", "1125899906842625": "1125899906842624",
	} {
		d, err := money.Parse(quantity)
		require.NoError(t, err)
		require.Equal(t, want, domain.Units(d).String(), quantity)
	}
}
