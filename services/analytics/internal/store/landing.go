package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/received"
)

// Partition is a row of partitions.
type Partition struct {
	Partition     int        `db:"partition"`
	StreamCreated *time.Time `db:"stream_created"`
	Generation    int32      `db:"generation"`
	Sequence      int64      `db:"sequence"`
	Landed        int64      `db:"landed"`
}

const partitionColumns = `partition, stream_created, generation, sequence, landed`

// EnsurePartitions makes the rows of so many partitions.
func EnsurePartitions(ctx context.Context, tx pgx.Tx, n int) error {
	return exec(ctx, tx, "make partitions", `INSERT INTO partitions (partition) SELECT generate_series(0, $1::int - 1) ON CONFLICT DO NOTHING`, n)
}

// LockPartition returns a partition that nobody else lands until the end of the transaction.
func LockPartition(ctx context.Context, tx pgx.Tx, partition int) (Partition, error) {
	rows, err := tx.Query(ctx, `SELECT `+partitionColumns+` FROM partitions WHERE partition = $1 FOR UPDATE`, partition)
	if err != nil {
		return Partition{}, wrap("lock partition", err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Partition])
	return p, wrap("lock partition", err)
}

// Partitions returns all partitions.
func Partitions(ctx context.Context, tx pgx.Tx) ([]Partition, error) {
	return collect[Partition](ctx, tx, "read partitions", `SELECT `+partitionColumns+` FROM partitions ORDER BY partition`)
}

// UpdatePartition writes where a partition has got to.
func UpdatePartition(ctx context.Context, tx pgx.Tx, p Partition) error {
	return exec(ctx, tx, "write partition", `UPDATE partitions SET stream_created = $2, generation = $3, sequence = $4, landed = $5 WHERE partition = $1`,
		p.Partition, p.StreamCreated, p.Generation, p.Sequence, p.Landed)
}

// Boot is a row of boots.
type Boot struct {
	Gateway string  `db:"gateway"`
	Boot    int64   `db:"boot"`
	Floor   int64   `db:"floor"`
	Above   []int64 `db:"above"`
	// Started is when the call at the floor began, and the last call of each range above; empty where it is not known.
	Started  []int64 `db:"started"`
	ClosedAt int64   `db:"closed_at"`
}

// Boots returns the boots of gateways.
func Boots(ctx context.Context, tx pgx.Tx, gateways []string) ([]Boot, error) {
	return collect[Boot](ctx, tx, "read boots", `SELECT gateway, boot, floor, above, started, closed_at FROM boots WHERE gateway = ANY ($1)`, gateways)
}

// Incomplete returns the boots that calls are missing of, with until when their gateways are waived.
func Incomplete(ctx context.Context, tx pgx.Tx) ([]IncompleteBoot, error) {
	return collect[IncompleteBoot](ctx, tx, "read boots", `SELECT b.gateway, b.boot, b.floor, b.above, b.started, b.closed_at, coalesce(w.until, 0) AS waived_until
		FROM boots b LEFT JOIN waivers w ON w.gateway = b.gateway WHERE b.above <> '{}' ORDER BY b.gateway, b.boot`)
}

// IncompleteBoot is a boot that calls are missing of.
type IncompleteBoot struct {
	Boot
	WaivedUntil int64 `db:"waived_until"`
}

// UpsertBoots writes boots as they are.
func UpsertBoots(ctx context.Context, tx pgx.Tx, boots []Boot) error {
	var batch pgx.Batch
	for _, b := range boots {
		batch.Queue(`INSERT INTO boots (gateway, boot, floor, above, started, closed_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (gateway, boot) DO UPDATE SET floor = excluded.floor, above = excluded.above, started = excluded.started, closed_at = excluded.closed_at`,
			b.Gateway, b.Boot, b.Floor, b.Above, b.Started, b.ClosedAt)
	}
	return wrap("write boots", tx.SendBatch(ctx, &batch).Close())
}

// Dropped is calls of a landing's messages that had been received before.
type Dropped struct {
	Gateway string `json:"gateway"`
	Boot    uint64 `json:"boot"`
	received.Range
}

// Landing is a row of landings: the manifest of one insert.
type Landing struct {
	Partition      int        `db:"partition"`
	Generation     int32      `db:"generation"`
	FirstSequence  int64      `db:"first_sequence"`
	LastSequence   int64      `db:"last_sequence"`
	Token          string     `db:"token"`
	Dropped        []Dropped  `db:"dropped"`
	Calls          int64      `db:"calls"`
	FirstCompleted int64      `db:"first_completed"`
	LastCompleted  int64      `db:"last_completed"`
	BegunAt        time.Time  `db:"begun_at"`
	DoneAt         *time.Time `db:"done_at"`
}

// InsertLanding writes a manifest. A partition has one pending landing at most (landings_pending).
func InsertLanding(ctx context.Context, tx pgx.Tx, l Landing) error {
	return exec(ctx, tx, "write manifest", `INSERT INTO landings (partition, generation, first_sequence, last_sequence, token, dropped, calls, first_completed, last_completed, begun_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		l.Partition, l.Generation, l.FirstSequence, l.LastSequence, l.Token, l.Dropped, l.Calls, l.FirstCompleted, l.LastCompleted, l.BegunAt)
}

// Pending returns the landing of a partition that was begun and not done, and false when there is none.
func Pending(ctx context.Context, tx pgx.Tx, partition int) (Landing, bool, error) {
	rows, err := tx.Query(ctx, `SELECT partition, generation, first_sequence, last_sequence, token, dropped, calls, first_completed, last_completed, begun_at, done_at
		FROM landings WHERE partition = $1 AND done_at IS NULL`, partition)
	if err != nil {
		return Landing{}, false, wrap("read manifest", err)
	}
	l, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Landing])
	if errors.Is(err, pgx.ErrNoRows) {
		return Landing{}, false, nil
	}
	return l, err == nil, wrap("read manifest", err)
}

// FinishLanding notes that the calls of a landing are in ClickHouse.
func FinishLanding(ctx context.Context, tx pgx.Tx, l Landing, now time.Time) error {
	var batch pgx.Batch
	batch.Queue(`UPDATE landings SET done_at = $2 WHERE token = $1 AND done_at IS NULL`, l.Token, now)
	batch.Queue(`UPDATE partitions SET landed = greatest(landed, $3) WHERE partition = $1 AND generation = $2`, l.Partition, l.Generation, l.LastSequence)
	return wrap("finish landing", tx.SendBatch(ctx, &batch).Close())
}

// PruneLandings forgets manifests that were done before a time: they tell no more than how it went.
func PruneLandings(ctx context.Context, tx pgx.Tx, before time.Time) error {
	return exec(ctx, tx, "forget manifests", `DELETE FROM landings WHERE done_at < $1`, before)
}

// InsertRefused notes a message that cannot be used.
func InsertRefused(ctx context.Context, tx pgx.Tx, p Partition, sequence uint64, cause string, now time.Time) error {
	return exec(ctx, tx, "note refused message", `INSERT INTO refused_messages (partition, generation, sequence, cause, refused_at)
		VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`, p.Partition, p.Generation, int64(sequence), cause, now)
}

// Refused returns the next sequences, after one, of the messages of the partition's stream that could not be used: at most 1000, none at
// the end.
func Refused(ctx context.Context, tx pgx.Tx, p Partition, after int64) ([]int64, error) {
	rows, err := tx.Query(ctx, `SELECT sequence FROM refused_messages WHERE partition = $1 AND generation = $2 AND sequence > $3 ORDER BY sequence LIMIT 1000`,
		p.Partition, p.Generation, after)
	if err != nil {
		return nil, wrap("read refused messages", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return all, wrap("read refused messages", err)
}

// RefusedWithin returns the sequences of the messages of a landing that could not be used.
func RefusedWithin(ctx context.Context, tx pgx.Tx, l Landing) ([]int64, error) {
	rows, err := tx.Query(ctx, `SELECT sequence FROM refused_messages WHERE partition = $1 AND generation = $2 AND sequence BETWEEN $3 AND $4`,
		l.Partition, l.Generation, l.FirstSequence, l.LastSequence)
	if err != nil {
		return nil, wrap("read refused messages", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return all, wrap("read refused messages", err)
}

// DeleteRefused forgets a message that was used after all.
func DeleteRefused(ctx context.Context, tx pgx.Tx, p Partition, sequence uint64) error {
	return exec(ctx, tx, "forget refused message", `DELETE FROM refused_messages WHERE partition = $1 AND generation = $2 AND sequence = $3`,
		p.Partition, p.Generation, int64(sequence))
}

// Completed returns when the calls of the landings that are done completed, of messages of a partition after one, up to
// another, and false when there are none.
func Completed(ctx context.Context, tx pgx.Tx, partition int, generation int32, after, upTo int64) (first, last int64, any bool, err error) {
	var from, to *int64
	err = tx.QueryRow(ctx, `SELECT min(first_completed), max(last_completed) FROM landings
		WHERE partition = $1 AND generation = $2 AND last_sequence > $3 AND first_sequence <= $4 AND done_at IS NOT NULL`, partition, generation, after, upTo).Scan(&from, &to)
	if err != nil || from == nil {
		return 0, 0, false, wrap("read manifests", err)
	}
	return *from, *to, true, nil
}
