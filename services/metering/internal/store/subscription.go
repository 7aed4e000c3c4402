package store

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/rating"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
)

// Subscription is a row of subscriptions.
type Subscription struct {
	ID          string `db:"id"`
	Tenant      string `db:"tenant_id"`
	Name        string `db:"name"`
	State       string `db:"state"`
	Plan        string `db:"plan"`
	PlanVersion int32  `db:"plan_version"`
	TimeZone    string `db:"time_zone"`
	StartedAt   int64  `db:"started_at"`
	EndedAt     int64  `db:"ended_at"`
	// Limits of its own as an encoded SubscriptionLimitsSet, in place of its plan's; nil for those of the plan.
	Limits []byte `db:"limits"`
	// Revision is the position in subscription's log of the last change.
	Revision int64 `db:"revision"`
}

const subscriptionColumns = `id, tenant_id, name, state, plan, plan_version, time_zone, started_at, ended_at, limits, revision`

// UpsertSubscription writes a subscription as it is.
func UpsertSubscription(ctx context.Context, tx pgx.Tx, s Subscription) error {
	return exec(ctx, tx, "write subscription", `INSERT INTO subscriptions (`+subscriptionColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (id) DO UPDATE SET state = excluded.state, time_zone = excluded.time_zone, started_at = excluded.started_at,
			ended_at = excluded.ended_at, limits = excluded.limits, revision = excluded.revision`,
		s.ID, s.Tenant, s.Name, s.State, s.Plan, s.PlanVersion, s.TimeZone, s.StartedAt, s.EndedAt, s.Limits, s.Revision)
}

// FindSubscription returns a subscription by its id, or by its name: of those with the same name the newest.
func FindSubscription(ctx context.Context, tx pgx.Tx, nameOrID string) (Subscription, error) {
	return one[Subscription](ctx, tx, "find subscription", `SELECT `+subscriptionColumns+` FROM subscriptions WHERE id = $1 OR name = $1
		ORDER BY id = $1 DESC, started_at DESC, id DESC LIMIT 1`, nameOrID)
}

// Known is a subscription with its calendar and the plans it has been under. It is safe for concurrent use.
type Known struct {
	Subscription
	Calendar *domain.Calendar
	specs    map[string]*catalogv1.PlanSpec
	// own are the limits of its own in each phase, by its beginning; nil for those of the plan.
	own map[int64][]*catalogv1.Limit
}

// Quotas returns the quotas in force at an instant: the subscription's own, else those of the plan.
func (k *Known) Quotas(at int64) []*catalogv1.Limit {
	phase, ok := k.Calendar.Phase(at)
	if !ok {
		return nil
	}
	limits := k.own[phase.From]
	if limits == nil {
		limits = k.specs[planKey(phase.Plan, phase.PlanVersion)].GetLimits()
	}
	var quotas []*catalogv1.Limit
	for _, l := range limits {
		if l.GetQuota() > 0 {
			quotas = append(quotas, l)
		}
	}
	return quotas
}

// Quota returns the quota of a meter and window in force at an instant; nil when there is none.
func (k *Known) Quota(meter, per string, at int64) *catalogv1.Limit {
	for _, l := range k.Quotas(at) {
		if MeterOf(l) == meter && l.GetPer() == per {
			return l
		}
	}
	return nil
}

// MeterOf returns the meter that a quota counts.
func MeterOf(l *catalogv1.Limit) string {
	if l.GetMeter() == "" {
		return callstream.MeterCalls
	}
	return l.GetMeter()
}

// Hard says whether calls beyond a quota are refused.
func Hard(l *catalogv1.Limit) bool { return l.GetMode() != "soft" }

// Units returns a quota as a whole number that arithmetic cannot overflow with.
func Units(l *catalogv1.Limit) int64 { return int64(min(l.GetQuota(), 1<<60)) }

func planKey(plan string, version uint32) string { return fmt.Sprintf("%s/%d", plan, version) }

type phaseRow struct {
	Subscription string `db:"subscription"`
	StartsAt     int64  `db:"starts_at"`
	Plan         string `db:"plan"`
	PlanVersion  int32  `db:"plan_version"`
	Limits       []byte `db:"limits"`
	Spec         []byte `db:"spec"`
}

// Cache keeps subscriptions between transactions. It is safe for concurrent use, and nobody waits for another's query.
type Cache struct {
	mu    sync.Mutex
	known map[string]*Known
}

// maxCached bounds a cache; beyond it all is forgotten at once.
const maxCached = 20_000

// Load returns those of the subscriptions that are known, by id, as they are now.
func (c *Cache) Load(ctx context.Context, tx pgx.Tx, ids []string) (map[string]*Known, error) {
	found := map[string]*Known{}
	if len(ids) == 0 {
		return found, nil
	}
	rows, err := collect[Subscription](ctx, tx, "read subscriptions", `SELECT `+subscriptionColumns+` FROM subscriptions WHERE id = ANY ($1)`, ids)
	if err != nil {
		return nil, err
	}
	changed := c.find(rows, found)
	if len(changed) == 0 {
		return found, nil
	}
	loaded, err := load(ctx, tx, changed)
	if err != nil {
		return nil, err
	}
	maps.Copy(found, loaded)
	c.keep(loaded)
	return found, nil
}

// find adds to found what is known of rows as they are, and returns the others.
func (c *Cache) find(rows []Subscription, found map[string]*Known) (changed []Subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range rows {
		if k := c.known[s.ID]; k != nil && k.Revision == s.Revision {
			found[s.ID] = k
			continue
		}
		changed = append(changed, s)
	}
	return changed
}

func (c *Cache) keep(loaded map[string]*Known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) > maxCached {
		c.known = map[string]*Known{}
	}
	maps.Copy(c.known, loaded)
}

// load adds calendars and plans.
func load(ctx context.Context, tx pgx.Tx, rows []Subscription) (map[string]*Known, error) {
	ids := make([]string, len(rows))
	for i, s := range rows {
		ids[i] = s.ID
	}
	phases, err := collect[phaseRow](ctx, tx, "read phases", `SELECT f.subscription, f.starts_at, f.plan, f.plan_version, f.limits, p.spec
		FROM phases f JOIN plans p ON p.plan = f.plan AND p.version = f.plan_version WHERE f.subscription = ANY ($1) ORDER BY f.subscription, f.starts_at`, ids)
	if err != nil {
		return nil, err
	}
	known := make(map[string]*Known, len(rows))
	specs := map[string]*catalogv1.PlanSpec{}
	of := map[string][]domain.Phase{}
	own := map[string]map[int64][]*catalogv1.Limit{}
	for _, f := range phases {
		key := planKey(f.Plan, uint32(f.PlanVersion))
		if specs[key] == nil {
			var spec catalogv1.PlanSpec
			if err := proto.Unmarshal(f.Spec, &spec); err != nil {
				return nil, fmt.Errorf("decode plan %s: %w", key, err)
			}
			specs[key] = &spec
		}
		if f.Limits != nil {
			var set subscriptionv1.SubscriptionLimitsSet
			if err := proto.Unmarshal(f.Limits, &set); err != nil {
				return nil, fmt.Errorf("decode limits of subscription %s: %w", f.Subscription, err)
			}
			if own[f.Subscription] == nil {
				own[f.Subscription] = map[int64][]*catalogv1.Limit{}
			}
			own[f.Subscription][f.StartsAt] = set.GetLimits()
		}
		of[f.Subscription] = append(of[f.Subscription], domain.Phase{
			From: f.StartsAt, Plan: f.Plan, PlanVersion: uint32(f.PlanVersion), Period: rating.PeriodConfig(specs[key].GetPeriod()),
		})
	}
	for _, s := range rows {
		calendar, err := domain.NewCalendar(s.TimeZone, s.StartedAt, s.EndedAt, of[s.ID])
		if err != nil {
			return nil, fmt.Errorf("subscription %s: %w", s.ID, err)
		}
		known[s.ID] = &Known{Subscription: s, Calendar: calendar, specs: specs, own: own[s.ID]}
	}
	return known, nil
}

// UpsertPhase puts a subscription under a plan version, and its own limits if it has any, from an instant on.
func UpsertPhase(ctx context.Context, tx pgx.Tx, s Subscription, from int64, plan string, version uint32) error {
	return exec(ctx, tx, "write phase", `INSERT INTO phases (subscription, starts_at, tenant_id, plan, plan_version, limits) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (subscription, starts_at) DO UPDATE SET plan = excluded.plan, plan_version = excluded.plan_version, limits = excluded.limits`,
		s.ID, from, s.Tenant, plan, int32(version), s.Limits)
}

// FindPhase returns the plan version that a subscription is under at an instant.
func FindPhase(ctx context.Context, tx pgx.Tx, subscription string, at int64) (plan string, version uint32, err error) {
	err = tx.QueryRow(ctx, `SELECT plan, plan_version FROM phases WHERE subscription = $1 AND starts_at <= $2 ORDER BY starts_at DESC LIMIT 1`,
		subscription, at).Scan(&plan, &version)
	return plan, version, wrap("find phase", err)
}

// UpsertPlan writes a plan version.
func UpsertPlan(ctx context.Context, tx pgx.Tx, tenant, plan string, version uint32, spec *catalogv1.PlanSpec) error {
	encoded, err := proto.Marshal(spec)
	if err != nil {
		return wrap("write plan", err)
	}
	return exec(ctx, tx, "write plan", `INSERT INTO plans (plan, version, tenant_id, spec) VALUES ($1, $2, $3, $4)
		ON CONFLICT (plan, version) DO UPDATE SET spec = excluded.spec`, plan, int32(version), tenant, encoded)
}

// FindPlan returns the specification of a plan version.
func FindPlan(ctx context.Context, tx pgx.Tx, plan string, version uint32) (*catalogv1.PlanSpec, error) {
	var encoded []byte
	if err := tx.QueryRow(ctx, `SELECT spec FROM plans WHERE plan = $1 AND version = $2`, plan, int32(version)).Scan(&encoded); err != nil {
		return nil, wrap("find plan", err)
	}
	var spec catalogv1.PlanSpec
	return &spec, wrap("find plan", proto.Unmarshal(encoded, &spec))
}

// Split is a row of splits.
type Split struct {
	Position     int64  `db:"position"`
	Tenant       string `db:"tenant_id"`
	Subscription string `db:"subscription"`
	Since        int64  `db:"since"`
}

// InsertSplit asks the partitions to split the buckets of a subscription.
func InsertSplit(ctx context.Context, tx pgx.Tx, s Split) error {
	return exec(ctx, tx, "ask for split", `INSERT INTO splits (position, tenant_id, subscription, since) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		s.Position, s.Tenant, s.Subscription, s.Since)
}

// SplitsAfter returns the next splits behind a position.
func SplitsAfter(ctx context.Context, tx pgx.Tx, position int64, limit int) ([]Split, error) {
	return collect[Split](ctx, tx, "read splits", `SELECT position, tenant_id, subscription, since FROM splits WHERE position > $1 ORDER BY position LIMIT $2`, position, limit)
}

// PendingSplits returns splits that a partition still has to do, and that divide something.
func PendingSplits(ctx context.Context, tx pgx.Tx, limit int) ([]Split, error) {
	return collect[Split](ctx, tx, "read splits", `SELECT s.position, s.tenant_id, s.subscription, s.since FROM splits s
		WHERE s.position > (SELECT min(split_to) FROM partitions) AND EXISTS (SELECT FROM usage u WHERE u.tenant_id = s.tenant_id
			AND u.subscription = s.subscription AND u.bucket > s.since - 3600000000000 AND u.bucket < s.since
			AND u.first_completed < s.since AND u.last_completed >= s.since)
		ORDER BY s.position LIMIT $1`, limit)
}

// SplitPending says whether a partition still has to split buckets of a subscription, or of any for "".
func SplitPending(ctx context.Context, tx pgx.Tx, subscription string) (yes bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM splits WHERE ($1 = '' OR subscription = $1) AND position > (SELECT min(split_to) FROM partitions))`, subscription).Scan(&yes)
	return yes, wrap("read splits", err)
}

// DeleteSplits forgets splits that every partition has done, which is for tidiness only.
func DeleteSplits(ctx context.Context, tx pgx.Tx) error {
	return exec(ctx, tx, "forget splits", `DELETE FROM splits WHERE position <= (SELECT min(split_to) FROM partitions)`)
}

// The states of a subscription, as metering distinguishes them: only an active one is leased to.
const (
	Requested = "requested"
	Active    = "active"
	Suspended = "suspended"
	Cancelled = "cancelled"
	Rejected  = "rejected"
)
