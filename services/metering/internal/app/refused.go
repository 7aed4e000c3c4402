package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// refusedPage is how many refused messages are looked up at once.
const refusedPage = 1_000

// RetryRefused tries the messages again that could not be used, since a newer build may know how to, and returns how many
// it applied. It is called once by a process, for each partition.
func (p *Partition) RetryRefused(ctx context.Context) (int, error) {
	applied, after := 0, uint64(0)
	for {
		var sequences []uint64
		err := p.m.all(ctx, func(tx pgx.Tx) (err error) {
			sequences, err = store.Refused(ctx, tx, p.at, after, refusedPage)
			return err
		})
		if err != nil || len(sequences) == 0 {
			return applied, err
		}
		n, err := p.retry(ctx, sequences)
		applied += n
		if err != nil {
			return applied, err
		}
		after = sequences[len(sequences)-1]
	}
}

func (p *Partition) retry(ctx context.Context, sequences []uint64) (applied int, err error) {
	stream, err := p.m.bus.JS.Stream(ctx, bus.CallsStream)
	if err != nil {
		return 0, fmt.Errorf("look at stream %s: %w", bus.CallsStream, err)
	}
	for _, sequence := range sequences {
		raw, err := stream.GetMsg(ctx, sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return applied, fmt.Errorf("read message %d of stream %s: %w", sequence, bus.CallsStream, err)
		}
		batch, err := callstream.Decode(p.at.Partition, raw.Data)
		if err != nil {
			continue
		}
		if err := p.applyLate(ctx, callstream.Message{Sequence: sequence, Received: raw.Time, Batch: batch}); err != nil {
			return applied, err
		}
		applied++
	}
	return applied, nil
}

// applyLate applies a message that was passed over.
func (p *Partition) applyLate(ctx context.Context, m callstream.Message) error {
	var a *application
	err := p.m.all(asService(ctx), func(tx pgx.Tx) error {
		row, err := store.LockPartition(ctx, tx, p.at.Partition)
		if err != nil {
			return err
		}
		if row.Generation != p.at.Generation {
			return ErrSuperseded
		}
		a = newApplication(p, tx, row)
		if err := a.runLate(asService(ctx), m); err != nil {
			return err
		}
		return store.DeleteRefused(ctx, tx, row, m.Sequence)
	})
	if err != nil {
		return fmt.Errorf("apply refused message %d of partition %d: %w", m.Sequence, p.at.Partition, err)
	}
	p.m.keeper.want(a.unkept)
	return nil
}

func (a *application) runLate(ctx context.Context, m callstream.Message) error {
	if err := a.receive(ctx, []callstream.Message{m}); err != nil {
		return err
	}
	if err := a.meter(ctx); err != nil {
		return err
	}
	if err := a.gateways(ctx); err != nil || a.flush == nil {
		return err
	}
	_, err := a.flush(ctx)
	return err
}
