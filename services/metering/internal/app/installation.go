package app

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/received"
	"github.com/tollgate/tollgate/libs/service"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// BootState is one run of a gateway, as far as its batches tell.
type BootState struct {
	Boot uint64 `json:"boot"`
	// Floor: every number up to it has been received.
	Floor uint64 `json:"floor"`
	// Highest number received.
	Highest uint64 `json:"highest"`
	// Missing numbers below the highest.
	Missing []received.Range `json:"missing"`
	// FirstSeenAt is when its first batch came; absent when that is not known.
	FirstSeenAt *time.Time `json:"firstSeenAt,omitempty"`
	SealedUntil *time.Time `json:"sealedUntil,omitempty"`
	// SealedAt is when that seal came.
	SealedAt *time.Time `json:"sealedAt,omitempty"`
	Closed   bool       `json:"closed"`
	ClosedAt *time.Time `json:"closedAt,omitempty"`
}

// Waiver is an operator's decision that a gateway holds up no period that ends before a time.
type Waiver struct {
	Until time.Time `json:"until"`
	// At, By and Reason are absent for waivers of before they were kept here; the event has them.
	At     *time.Time `json:"at,omitempty"`
	By     string     `json:"by,omitempty"`
	Reason string     `json:"reason,omitempty"`
}

// GatewayState is a gateway, with those of its boots that are open, incomplete or the newest.
type GatewayState struct {
	Gateway     string    `json:"gateway"`
	Partition   int       `json:"partition"`
	FirstSeenAt time.Time `json:"firstSeenAt"`
	SeenAt      time.Time `json:"seenAt"`
	// SealedUntil is the time before which every call of it is here; absent when all its boots are closed.
	SealedUntil *time.Time `json:"sealedUntil,omitempty"`
	// Unsealed says why it has not sealed up to now: see domain.Unsealed; empty when nothing more can come of it.
	Unsealed string      `json:"unsealed,omitempty" enum:"neverSealed,silent,behind"`
	Waiver   *Waiver     `json:"waiver,omitempty"`
	Boots    []BootState `json:"boots"`
}

// Gateways returns every gateway that was heard of.
func (m *Metering) Gateways(ctx context.Context) ([]GatewayState, error) {
	return acting(ctx, m, func(tx pgx.Tx) ([]GatewayState, error) {
		rows, err := store.Gateways(ctx, tx)
		if err != nil {
			return nil, err
		}
		boots, err := store.AllBoots(ctx, tx)
		if err != nil {
			return nil, err
		}
		states := make([]GatewayState, len(rows))
		for i, g := range rows {
			states[i], err = gatewayState(g, boots, m.now())
			if err != nil {
				return nil, err
			}
		}
		return states, nil
	})
}

func waiverOf(g store.Gateway) *Waiver {
	if g.WaivedUntil == 0 {
		return nil
	}
	return &Waiver{Until: time.Unix(0, g.WaivedUntil).UTC(), At: utc(g.WaivedAt), By: g.WaivedBy, Reason: g.WaivedReason}
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	inUTC := t.UTC()
	return &inUTC
}

func gatewayState(g store.Gateway, boots []store.Boot, now time.Time) (GatewayState, error) {
	state := GatewayState{
		Gateway: g.Gateway, Partition: g.Partition, FirstSeenAt: g.FirstSeenAt.UTC(), SeenAt: g.SeenAt.UTC(), Waiver: waiverOf(g), Boots: []BootState{},
	}
	sum := domain.Gateway{Name: g.Gateway}
	for _, b := range boots {
		if b.Gateway != g.Gateway {
			continue
		}
		set, err := received.Load(b.Floor, b.Above)
		if err != nil {
			return state, err
		}
		missing := set.Holes()
		if missing == nil {
			missing = []received.Range{}
		}
		state.Boots = append(state.Boots, BootState{
			Boot: uint64(b.Boot), Floor: set.Floor(), Highest: set.Highest(), Missing: missing, SealedUntil: instant(b.SealedUntil), Closed: b.ClosedAt != 0,
			FirstSeenAt: utc(b.FirstSeenAt), SealedAt: utc(b.SealedAt), ClosedAt: instant(b.ClosedAt),
		})
		sum.Boots = append(sum.Boots, domain.Boot{SealedUntil: b.SealedUntil, ClosedAt: b.ClosedAt})
	}
	if until := sum.SealedUntil(); until != domain.Forever {
		state.SealedUntil = instant(until)
		state.Unsealed = string(domain.UnsealedBecause(until, g.SeenAt, now))
	}
	return state, nil
}

func instant(nanoseconds int64) *time.Time {
	if nanoseconds == 0 {
		return nil
	}
	t := time.Unix(0, nanoseconds).UTC()
	return &t
}

// GapState is a gap: calls of a gateway that are missing, or were.
type GapState struct {
	Gateway string `json:"gateway"`
	Boot    uint64 `json:"boot"`
	received.Range
	// After is a time that the missing calls completed at or later.
	After *time.Time `json:"after,omitempty"`
	// NoticedAt is when a later call came and they did not.
	NoticedAt time.Time `json:"noticedAt"`
	// OpenedAt is when that became a gap.
	OpenedAt *time.Time `json:"openedAt"`
	// ClosedAt is when the calls had come in after all.
	ClosedAt *time.Time `json:"closedAt,omitempty"`
	// Waived says that a waiver of the gateway has accepted the calls as lost: the gap holds up no period.
	Waived bool `json:"waived"`
}

// Cursor names the gap in its list.
func (g GapState) Cursor() string {
	return g.Gateway + "/" + strconv.FormatUint(g.Boot, 10) + "/" + strconv.FormatUint(g.First, 10)
}

// Gaps returns the gaps that are open, or all, behind a cursor.
func (m *Metering) Gaps(ctx context.Context, all bool, cursor string, limit int) ([]GapState, error) {
	gateway, boot, first, err := parseGapCursor(cursor)
	if err != nil {
		return nil, err
	}
	return acting(ctx, m, func(tx pgx.Tx) ([]GapState, error) {
		rows, err := store.Gaps(ctx, tx, all, gateway, boot, first, limit)
		if err != nil {
			return nil, err
		}
		gateways, err := store.Gateways(ctx, tx)
		if err != nil {
			return nil, err
		}
		waived := map[string]int64{}
		for _, g := range gateways {
			waived[g.Gateway] = g.WaivedUntil
		}
		states := make([]GapState, len(rows))
		for i, g := range rows {
			states[i] = GapState{
				Gateway: g.Gateway, Boot: uint64(g.Boot), Range: g.Range(), After: instant(g.After), NoticedAt: g.NoticedAt.UTC(),
				OpenedAt: utc(g.OpenedAt), ClosedAt: utc(g.ClosedAt), Waived: g.ClosedAt == nil && waived[g.Gateway] > g.After,
			}
		}
		return states, nil
	})
}

func parseGapCursor(cursor string) (gateway string, boot, first int64, err error) {
	if cursor == "" {
		return "", 0, 0, nil
	}
	parts := strings.Split(cursor, "/")
	if n := len(parts); n >= 3 {
		boot, err = strconv.ParseInt(parts[n-2], 10, 64)
		if err == nil {
			first, err = strconv.ParseInt(parts[n-1], 10, 64)
		}
		if err == nil {
			return strings.Join(parts[:n-2], "/"), boot, first, nil
		}
	}
	return "", 0, 0, problem.NewInvalid("request-invalid", "The request is not valid.").With(problem.Field{Path: "cursor", Message: "is not the next of a page before"})
}

// Waive has periods that end before a time close without the seal of a gateway, and accepts what of its calls from before is
// missing: for a gateway that is dead and whose journal is lost. A later batch of it is metered all the same.
func (m *Metering) Waive(ctx context.Context, gateway string, until time.Time) error {
	actor, _ := principal.From(ctx)
	actor.Tenant = principal.AllTenants // the gateway belongs to the installation; the operation is an operator's
	_, err := service.Execute(principal.With(ctx, actor), m.log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		if err := m.checkWaiver(ctx, until); err != nil {
			return struct{}{}, err
		}
		err := appendToGateway(ctx, tx, gateway, func(g *store.Gateway) proto.Message {
			if until.UnixNano() <= g.WaivedUntil {
				return nil
			}
			now := tx.Now()
			g.WaivedUntil, g.WaivedAt, g.WaivedBy, g.WaivedReason = until.UnixNano(), &now, actor.Subject, principal.CommandFrom(ctx).Reason
			return &meteringv1.GatewayWaived{Gateway: gateway, Until: until.UnixNano()}
		})
		return struct{}{}, notFound(err, "gateway-not-found", "No gateway %s was ever heard of.", gateway)
	})
	return err
}

func (m *Metering) checkWaiver(ctx context.Context, until time.Time) error {
	var fields problem.Fields
	if until.After(m.now()) {
		fields.Add("until", "%s lies ahead; a gateway can be waived for what is past", until.UTC().Format(time.RFC3339))
	}
	if until.Unix() <= 0 {
		fields.Add("until", "%s is before 1970", until.UTC().Format(time.RFC3339))
	}
	if strings.TrimSpace(principal.CommandFrom(ctx).Reason) == "" {
		fields.Add("reason", "is empty; say why the gateway's calls will not come, it is kept with the event")
	}
	return fields.Err("waiver-invalid", "The gateway cannot be waived.")
}
