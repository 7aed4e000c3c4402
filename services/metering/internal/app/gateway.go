package app

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// gateways writes what the messages said about their gateways: seals, what is missing, and which gaps are closed.
func (a *application) gateways(ctx context.Context) error {
	if len(a.seen) == 0 {
		return nil
	}
	if err := store.SeeGateways(ctx, a.tx, a.partition.Partition, a.seen); err != nil {
		return err
	}
	var rows []store.Boot
	for key, b := range a.boots {
		if _, touched := a.seen[key.gateway]; touched {
			b.Floor, b.Above = b.set.Stored()
			rows = append(rows, b.Boot)
		}
	}
	slices.SortFunc(rows, func(x, y store.Boot) int {
		return cmp.Or(cmp.Compare(x.Gateway, y.Gateway), cmp.Compare(x.Boot, y.Boot))
	})
	if err := store.UpsertBoots(ctx, a.tx, rows); err != nil {
		return err
	}
	if err := a.closeGaps(ctx); err != nil {
		return err
	}
	for _, b := range a.boots {
		for _, hole := range b.holes {
			if len(b.set.Missing(hole.Range())) == 0 {
				continue // filled by a later message
			}
			if err := store.InsertGap(ctx, a.tx, hole); err != nil {
				return err
			}
		}
		if err := a.noteStreams(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// noteStreams notes which of the missing calls go on.
func (a *application) noteStreams(ctx context.Context, b *boot) error {
	if !b.listed {
		return nil
	}
	missing, err := store.MissingOf(ctx, a.tx, b.Gateway, b.Boot.Boot)
	if err != nil {
		return err
	}
	changed := map[bool][]int64{}
	for _, g := range missing {
		if streams := b.set.MissingOnly(g.Range(), b.open); streams != g.Streaming {
			changed[streams] = append(changed[streams], g.FirstSeq)
		}
	}
	for streams, firsts := range changed {
		if err := store.SetStreaming(ctx, a.tx, b.Gateway, b.Boot.Boot, firsts, streams, a.now); err != nil {
			return err
		}
	}
	return nil
}

// closeGaps notes which missing calls have come in.
func (a *application) closeGaps(ctx context.Context) error {
	var gateways []string
	var boots, numbers []int64
	for _, b := range a.boots {
		for _, number := range b.filled {
			gateways, boots, numbers = append(gateways, b.Gateway), append(boots, b.Boot.Boot), append(numbers, number)
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	missing, err := store.MissingAt(ctx, a.tx, gateways, boots, numbers)
	if err != nil {
		return err
	}
	for _, g := range missing {
		if len(a.boots[bootKey{g.Gateway, uint64(g.Boot)}].set.Missing(g.Range())) > 0 {
			continue
		}
		if err := store.CloseGap(ctx, a.tx, g, a.now); err != nil {
			return err
		}
		if g.OpenedAt == nil {
			continue
		}
		log, err := a.log(ctx)
		if err != nil {
			return err
		}
		err = appendToGateway(ctx, log, g.Gateway, func(*store.Gateway) proto.Message {
			return &meteringv1.GapClosed{Gateway: g.Gateway, Boot: uint64(g.Boot), FirstSeq: uint64(g.FirstSeq), LastSeq: uint64(g.LastSeq)}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// appendToGateway appends an event to a gateway's stream, which belongs to the installation. decide may change the row; nil
// means that there is nothing to say.
func appendToGateway(ctx context.Context, tx *eventlog.Tx, gateway string, decide func(*store.Gateway) proto.Message) error {
	row, err := store.LockGateway(ctx, tx, gateway)
	if err != nil {
		return err
	}
	event := decide(&row)
	if event == nil {
		return nil
	}
	tx.AppendFor("*", "gateway", gateway, uint64(row.Version), event)
	row.Version++
	return store.UpdateGateway(ctx, tx, row)
}

// OpenGaps makes a gap of what has been missing for GapAfter, and returns how many gaps it opened.
func (m *Metering) OpenGaps(ctx context.Context) (int, error) {
	opened := 0
	_, err := eventlog.Execute(asService(ctx), m.log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		opened = 0
		due, err := store.DueGaps(ctx, tx, m.now().Add(-GapAfter))
		if err != nil {
			return struct{}{}, err
		}
		for _, g := range due {
			err := appendToGateway(ctx, tx, g.Gateway, func(*store.Gateway) proto.Message {
				var still bool
				if still, err = store.OpenGap(ctx, tx, g, m.now()); err != nil || !still {
					return nil
				}
				opened++
				return &meteringv1.GapOpened{Gateway: g.Gateway, Boot: uint64(g.Boot), FirstSeq: uint64(g.FirstSeq), LastSeq: uint64(g.LastSeq)}
			})
			if err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		return 0, fmt.Errorf("open gaps: %w", err)
	}
	return opened, nil
}

// sealing is what the gateways have said up to now.
type sealing []domain.Gateway

func readSealing(ctx context.Context, tx pgx.Tx) (sealing, error) {
	rows, err := store.Gateways(ctx, tx)
	if err != nil {
		return nil, err
	}
	boots, err := store.AllBoots(ctx, tx)
	if err != nil {
		return nil, err
	}
	var s sealing
	byName := map[string]int{}
	for _, g := range rows {
		byName[g.Gateway] = len(s)
		s = append(s, domain.Gateway{Name: g.Gateway, WaivedUntil: g.WaivedUntil})
	}
	for _, b := range boots {
		g := &s[byName[b.Gateway]]
		g.Boots = append(g.Boots, domain.Boot{Gateway: b.Gateway, Boot: uint64(b.Boot), SealedUntil: b.SealedUntil, ClosedAt: b.ClosedAt})
	}
	return s, nil
}

// unsealed returns the gateways that hold up a period that ends at the given time, with the time until which each has sealed.
func (s sealing) unsealed(end int64) map[string]int64 {
	open := map[string]int64{}
	for _, g := range s {
		if !g.Sealed(end) {
			open[g.Name] = g.SealedUntil()
		}
	}
	return open
}
