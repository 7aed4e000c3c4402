package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Partition is a row of partitions.
type Partition struct {
	Partition     int        `db:"partition"`
	StreamCreated *time.Time `db:"stream_created"`
	Generation    int32      `db:"generation"`
	Sequence      int64      `db:"sequence"`
	SplitTo       int64      `db:"split_to"`
}

const partitionColumns = `partition, stream_created, generation, sequence, split_to`

// EnsurePartitions makes the rows of so many partitions.
func EnsurePartitions(ctx context.Context, tx pgx.Tx, n int) error {
	return exec(ctx, tx, "make partitions", `INSERT INTO partitions (partition) SELECT generate_series(0, $1::int - 1) ON CONFLICT DO NOTHING`, n)
}

// LockPartition returns a partition that nobody else applies messages of until the end of the transaction.
func LockPartition(ctx context.Context, tx pgx.Tx, partition int) (Partition, error) {
	return one[Partition](ctx, tx, "lock partition", `SELECT `+partitionColumns+` FROM partitions WHERE partition = $1 FOR UPDATE`, partition)
}

// HoldPartitions returns all partitions, whose ledger stays as it is until the end of the transaction.
func HoldPartitions(ctx context.Context, tx pgx.Tx) ([]Partition, error) {
	return collect[Partition](ctx, tx, "hold partitions", `SELECT `+partitionColumns+` FROM partitions ORDER BY partition FOR SHARE`)
}

// Partitions returns all partitions.
func Partitions(ctx context.Context, tx pgx.Tx) ([]Partition, error) {
	return collect[Partition](ctx, tx, "read partitions", `SELECT `+partitionColumns+` FROM partitions ORDER BY partition`)
}

// UpdatePartition writes where a partition has got to.
func UpdatePartition(ctx context.Context, tx pgx.Tx, p Partition) error {
	return exec(ctx, tx, "write partition", `UPDATE partitions SET stream_created = $2, generation = $3, sequence = $4, split_to = $5 WHERE partition = $1`,
		p.Partition, p.StreamCreated, p.Generation, p.Sequence, p.SplitTo)
}

// InsertRefused notes a message that cannot be used.
func InsertRefused(ctx context.Context, tx pgx.Tx, p Partition, sequence uint64, cause string, now time.Time) error {
	return exec(ctx, tx, "note refused message", `INSERT INTO refused_messages (partition, generation, sequence, cause, refused_at)
		VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`, p.Partition, p.Generation, int64(sequence), cause, now)
}

// Refused returns the sequences behind one of the messages of the partition's stream that could not be used, at most so many.
func Refused(ctx context.Context, tx pgx.Tx, p Partition, after uint64, limit int) ([]uint64, error) {
	rows, err := tx.Query(ctx, `SELECT sequence FROM refused_messages WHERE partition = $1 AND generation = $2 AND sequence > $3 ORDER BY sequence LIMIT $4`,
		p.Partition, p.Generation, int64(after), limit)
	if err != nil {
		return nil, wrap("read refused messages", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	sequences := make([]uint64, len(all))
	for i, s := range all {
		sequences[i] = uint64(s)
	}
	return sequences, wrap("read refused messages", err)
}

// DeleteRefused forgets a message that was used after all.
func DeleteRefused(ctx context.Context, tx pgx.Tx, p Partition, sequence uint64) error {
	return exec(ctx, tx, "forget refused message", `DELETE FROM refused_messages WHERE partition = $1 AND generation = $2 AND sequence = $3`,
		p.Partition, p.Generation, int64(sequence))
}

// RefusedByPartition counts the messages that could not be used.
func RefusedByPartition(ctx context.Context, tx pgx.Tx) (map[int]int, error) {
	type row struct {
		Partition int `db:"partition"`
		Messages  int `db:"messages"`
	}
	rows, err := collect[row](ctx, tx, "count refused messages", `SELECT partition, count(*)::int AS messages FROM refused_messages GROUP BY partition`)
	counted := make(map[int]int, len(rows))
	for _, r := range rows {
		counted[r.Partition] = r.Messages
	}
	return counted, err
}
