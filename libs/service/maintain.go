package service

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tollgate/tollgate/libs/config"
	"github.com/tollgate/tollgate/libs/eventlog"
)

// Maintenance tasks of every service that keeps an event log, given to its program in place of running it.
const (
	// TaskCheck compares the log with its replica in JetStream and each projection with one made again from the log. The
	// service may run meanwhile.
	TaskCheck = "check"
	// TaskRebuild makes the projections again from the log and puts them in place. The service may run meanwhile; its
	// commands wait for the last moment of it.
	TaskRebuild = "rebuild"
	// TaskRefill empties the replica, which the running service then fills from the log.
	TaskRefill = "refill"
	// TaskRestored is for a database that was restored from a backup, before the service is started: it begins a new epoch of
	// the log and empties the service's buckets, so that nothing from after the backup stays in NATS.
	TaskRestored = "restored"
)

// Tasks describes the maintenance tasks, for a program's help.
func Tasks() []config.Task {
	return []config.Task{
		{Name: TaskCheck, Help: "compare the event log with its stream and the tables with what the log says; status 1 if they differ"},
		{Name: TaskRebuild, Help: "make the tables that follow from the event log again"},
		{Name: TaskRefill, Help: "empty the event log's stream, which the running service fills again"},
		{Name: TaskRestored, Help: "after the database was restored from a backup, with the service stopped: begin a new epoch"},
	}
}

// ErrDifferent says that a check has found differences, which it has printed.
var ErrDifferent = errors.New("there are differences")

// Project names a projection that the service writes in the transactions of its commands, for the tasks.
func (b *Base) Project(p eventlog.Projection) { b.projections = append(b.projections, p) }

// Maintain does one of the tasks, in place of Run, and tells out about it. It closes the database.
func (b *Base) Maintain(ctx context.Context, task string, out io.Writer) error {
	defer b.DB.Close()
	switch task {
	case TaskCheck:
		return b.check(ctx, out)
	case TaskRebuild:
		return b.rebuild(ctx, out)
	case TaskRefill:
		if err := b.relay.Rebuild(ctx); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: the stream is empty; the running service fills it from the log\n", b.Name)
		return nil
	case TaskRestored:
		return b.restored(ctx, out)
	}
	return fmt.Errorf("there is no task %q", task)
}

func (b *Base) check(ctx context.Context, out io.Writer) error {
	audit, err := b.relay.Audit(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: the log ends at position %d, its stream at %d; %d events compared, %d differ\n",
		b.Name, audit.LogEnd, audit.ReplicaEnd, audit.Compared, len(audit.Differences))
	for _, d := range audit.Differences {
		fmt.Fprintf(out, "  position %d: %s\n", d.Position, d.Problem)
	}
	if audit.ReplicaEnd < audit.LogEnd {
		fmt.Fprintf(out, "%s: %d events are still to be published, by the running service\n", b.Name, audit.LogEnd-audit.ReplicaEnd)
	}
	different := len(audit.Differences) > 0
	for _, p := range b.projections {
		differences, err := b.compare(ctx, p)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: projection %s of %d tables was made again; %d rows differ\n", b.Name, p.Name, len(p.Tables), len(differences))
		for _, d := range differences {
			where := "only the log says"
			if d.Live {
				where = "only the table has"
			}
			fmt.Fprintf(out, "  %s: %s %s\n", d.Table, where, d.Row)
		}
		different = different || len(differences) > 0
	}
	if different {
		return ErrDifferent
	}
	return nil
}

func (b *Base) compare(ctx context.Context, p eventlog.Projection) (differences []eventlog.RowDifference, err error) {
	r, err := b.Events.Rebuild(ctx, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close(context.WithoutCancel(ctx))) }()
	return r.Compare(ctx)
}

func (b *Base) rebuild(ctx context.Context, out io.Writer) error {
	whole := 0
	for _, p := range b.projections {
		if len(p.Beside) > 0 {
			fmt.Fprintf(out, "%s: projection %s stays: its tables hold what no event has; restore a backup to mend them\n", b.Name, p.Name)
			continue
		}
		fmt.Fprintf(out, "%s: projection %s is being made again …\n", b.Name, p.Name)
		if err := b.swap(ctx, p); err != nil {
			return err
		}
		whole++
	}
	fmt.Fprintf(out, "%s: %d projections were put in place\n", b.Name, whole)
	return nil
}

func (b *Base) swap(ctx context.Context, p eventlog.Projection) (err error) {
	r, err := b.Events.Rebuild(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close(context.WithoutCancel(ctx))) }()
	return r.Swap(ctx)
}

func (b *Base) restored(ctx context.Context, out io.Writer) error {
	epoch, err := b.relay.BeginEpoch(ctx)
	if err != nil {
		return err
	}
	for _, bucket := range b.buckets {
		if err := bucket.Empty(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%s: epoch %d begins; start the service\n", b.Name, epoch)
	return nil
}
