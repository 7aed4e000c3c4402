package app

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// What holds a period open.
const (
	heldByGateway = "gateway" // a gateway has not sealed past the end
	heldByGap     = "gap"     // calls are missing that may belong to the period
	heldBySplit   = "split"   // usage is being divided at an instant that has just become known
	// Messages from before the end are not metered yet, one of which may be the first of a gateway.
	heldByPartition = "partition"
)

// Hold is one thing that holds a period open.
type Hold struct {
	Kind    string `json:"kind" enum:"gateway,gap,split,partition"`
	Gateway string `json:"gateway,omitempty"`
	Boot    uint64 `json:"boot,omitempty"`
	// First and Last are the missing numbers of a gap.
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	// SealedUntil is how far the gateway has got, SealedAt when it said so; absent for never.
	SealedUntil *time.Time `json:"sealedUntil,omitempty"`
	SealedAt    *time.Time `json:"sealedAt,omitempty"`
	// SeenAt is when the gateway was last heard of.
	SeenAt *time.Time `json:"seenAt,omitempty"`
	// Since when it is so; absent when that is not known.
	Since    *time.Time `json:"since,omitempty"`
	Unsealed string     `json:"unsealed,omitempty" enum:"neverSealed,silent,behind"`
	// RefusedMessages of the gateway's partition contradict themselves; their calls may be those that are missing.
	RefusedMessages int `json:"refusedMessages,omitempty"`
	// Partition of the stream of calls that is behind.
	Partition *uint32 `json:"partition,omitempty"`
	// Subscription whose usage is being divided.
	Subscription string `json:"subscription,omitempty"`
	// Remedy is what lets the period close.
	Remedy string `json:"remedy"`
}

// Accepted is a gateway whose seal and missing calls hold the period up no more, because an operator waived it.
type Accepted struct {
	Gateway string `json:"gateway"`
	Waiver
}

// Holds is what holds a period open, and what would without a waiver.
type Holds struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Sealed says that nothing does: its usage is final.
	Sealed bool       `json:"sealed"`
	Holds  []Hold     `json:"holds"`
	Waived []Accepted `json:"waived"`
}

// maxHolds bounds what is listed.
const maxHolds = 1000

// Holds tells what holds the time between two instants open, of the whole installation: for its operators. It reads what
// metering.Usage closes periods by.
func (m *Metering) Holds(ctx context.Context, from, to time.Time) (Holds, error) {
	var all Holds
	var partitions []store.Partition
	err := m.db.Snapshot(ctx, principal.AllTenants, func(tx pgx.Tx) (err error) {
		all = Holds{From: from.UTC(), To: to.UTC(), Holds: []Hold{}, Waived: []Accepted{}}
		if partitions, err = store.Partitions(ctx, tx); err != nil {
			return err
		}
		gateways, err := store.Gateways(ctx, tx)
		if err != nil {
			return err
		}
		boots, err := store.AllBoots(ctx, tx)
		if err != nil {
			return err
		}
		byName := map[string]store.Gateway{}
		for _, g := range gateways {
			byName[g.Gateway] = g
			all.add(heldBy(g, boots, to, m.now())...)
			if w := waiverOf(g); w != nil && w.Until.After(from) {
				all.Waived = append(all.Waived, Accepted{g.Gateway, *w})
			}
		}
		if err := all.addGaps(ctx, tx, byName); err != nil {
			return err
		}
		return all.addSplits(ctx, tx)
	})
	if err != nil {
		return Holds{}, unavailable(err)
	}
	behind, err := m.behind(ctx, partitions, to.UnixNano())
	if err != nil {
		return Holds{}, err
	}
	all.addBehind(behind)
	all.Sealed = len(all.Holds) == 0
	return all, nil
}

// addSplits adds the usage that is being divided.
func (h *Holds) addSplits(ctx context.Context, tx pgx.Tx) error {
	splits, err := store.PendingSplits(ctx, tx, maxHolds)
	for _, s := range splits {
		h.add(Hold{Kind: heldBySplit, Subscription: s.Subscription, Remedy: "wait: the usage is being divided at an instant that has just become known, which takes a moment"})
	}
	return err
}

func (h *Holds) add(holds ...Hold) {
	h.Holds = append(h.Holds, holds[:min(len(holds), max(0, maxHolds-len(h.Holds)))]...)
}

// heldBy returns the open boots of a gateway that have not sealed past the end, unless the gateway is waived.
func heldBy(g store.Gateway, boots []store.Boot, end, now time.Time) []Hold {
	if g.WaivedUntil >= end.UnixNano() {
		return nil
	}
	known := false
	var holds []Hold
	for _, b := range boots {
		if b.Gateway != g.Gateway {
			continue
		}
		known = true
		if b.ClosedAt == 0 && b.SealedUntil < end.UnixNano() {
			holds = append(holds, holdOf(g, b, now))
		}
	}
	if !known {
		holds = append(holds, holdOf(g, store.Boot{}, now))
	}
	return holds
}

func holdOf(g store.Gateway, b store.Boot, now time.Time) Hold {
	seen := g.SeenAt.UTC()
	h := Hold{
		Kind: heldByGateway, Gateway: g.Gateway, Boot: uint64(b.Boot), SealedUntil: instant(b.SealedUntil), SealedAt: utc(b.SealedAt), SeenAt: &seen,
		Since: utc(b.SealedAt), Unsealed: string(domain.UnsealedBecause(b.SealedUntil, g.SeenAt, now)),
	}
	if h.Since == nil {
		h.Since = utc(b.FirstSeenAt)
	}
	h.Remedy = "start the gateway again on its journal, which it then ships; if that is lost, waive it: POST /metering/v1/gateways/" + g.Gateway + "/waive"
	if h.Unsealed == string(domain.Behind) {
		h.Remedy = "wait: the gateway is there, and seals the period once that is over and its calls are shipped"
	}
	return h
}

// addGaps adds the missing calls that may belong to the period.
func (h *Holds) addGaps(ctx context.Context, tx pgx.Tx, gateways map[string]store.Gateway) error {
	missing, err := store.Concerning(ctx, tx, h.From.UnixNano(), h.To.UnixNano(), maxHolds)
	if err != nil {
		return err
	}
	refused, err := store.RefusedByPartition(ctx, tx)
	if err != nil {
		return err
	}
	for _, g := range missing {
		noticed := g.NoticedAt.UTC()
		hold := Hold{
			Kind: heldByGap, Gateway: g.Gateway, Boot: uint64(g.Boot), First: uint64(g.FirstSeq), Last: uint64(g.LastSeq), Since: &noticed,
			RefusedMessages: refused[gateways[g.Gateway].Partition],
			Remedy:          "let the gateway ship the calls from its journal; if they are lost, waive it: POST /metering/v1/gateways/" + g.Gateway + "/waive",
		}
		if n := hold.RefusedMessages; n > 0 {
			hold.Remedy = fmt.Sprintf("%d messages of the gateway's partition contradict themselves and may be the missing ones: each start tries them again; else %s", n, hold.Remedy)
		}
		h.add(hold)
	}
	return nil
}

// addBehind adds the partitions of which messages from before the end are not metered yet.
func (h *Holds) addBehind(partitions []uint32) {
	for _, p := range partitions {
		h.add(Hold{Kind: heldByPartition, Partition: &p, Remedy: "wait: messages that came before the end of the period are being metered; if that lasts, see metering's health for what stops it"})
	}
}
