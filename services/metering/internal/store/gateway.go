package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/received"
)

// Gateway is a row of gateways.
type Gateway struct {
	Gateway     string    `db:"gateway"`
	Partition   int       `db:"partition"`
	FirstSeenAt time.Time `db:"first_seen_at"`
	SeenAt      time.Time `db:"seen_at"`
	WaivedUntil int64     `db:"waived_until"`
	// WaivedAt, WaivedBy and WaivedReason are of the last waiver; nil and empty for none.
	WaivedAt     *time.Time `db:"waived_at"`
	WaivedBy     string     `db:"waived_by"`
	WaivedReason string     `db:"waived_reason"`
	Version      int64      `db:"version"`
}

// Boot is a row of boots.
type Boot struct {
	Gateway        string  `db:"gateway"`
	Boot           int64   `db:"boot"`
	Floor          int64   `db:"floor"`
	Above          []int64 `db:"above"`
	HighestStarted int64   `db:"highest_started"`
	SealedUntil    int64   `db:"sealed_until"`
	ClosedAt       int64   `db:"closed_at"`
	// OpenAt is the seal of the batch that last listed which calls go on, which all complete at or after it.
	OpenAt int64 `db:"open_at"`
	// FirstSeenAt is when its first batch came, SealedAt when the seal did; nil when that is not known.
	FirstSeenAt *time.Time `db:"first_seen_at"`
	SealedAt    *time.Time `db:"sealed_at"`
}

// Gap is a row of gaps.
type Gap struct {
	Gateway  string `db:"gateway"`
	Boot     int64  `db:"boot"`
	FirstSeq int64  `db:"first_seq"`
	LastSeq  int64  `db:"last_seq"`
	// After is a time that the missing calls completed at or later; 0 when nothing is known.
	After     int64      `db:"after"`
	NoticedAt time.Time  `db:"noticed_at"`
	OpenedAt  *time.Time `db:"opened_at"`
	ClosedAt  *time.Time `db:"closed_at"`
	// Streaming: the calls go on, as their gateway last said; they are not missing.
	Streaming bool `db:"streaming"`
}

// Range returns the missing numbers.
func (g Gap) Range() received.Range {
	return received.Range{First: uint64(g.FirstSeq), Last: uint64(g.LastSeq)}
}

const (
	gatewayColumns = `gateway, partition, first_seen_at, seen_at, waived_until, waived_at, waived_by, waived_reason, version`
	bootColumns    = `gateway, boot, floor, above, highest_started, sealed_until, closed_at, open_at, first_seen_at, sealed_at`
	gapAfter       = `(CASE WHEN g.streaming THEN greatest(g.after, b.open_at) ELSE g.after END)`
	gapColumns     = `g.gateway, g.boot, g.first_seq, g.last_seq, ` + gapAfter + ` AS after, g.noticed_at, g.opened_at, g.closed_at, g.streaming `
	gapTables      = `FROM gaps g JOIN boots b ON b.gateway = g.gateway AND b.boot = g.boot `
	readGaps       = `SELECT ` + gapColumns + gapTables
)

// SeeGateways notes gateways that were heard of, and makes those that are new.
func SeeGateways(ctx context.Context, tx pgx.Tx, partition int, seen map[string]time.Time) error {
	names, times := make([]string, 0, len(seen)), make([]time.Time, 0, len(seen))
	for name, at := range seen {
		names, times = append(names, name), append(times, at)
	}
	return exec(ctx, tx, "note gateways", `INSERT INTO gateways (gateway, partition, first_seen_at, seen_at)
		SELECT g.name, $1, g.seen, g.seen FROM unnest($2::text[], $3::timestamptz[]) AS g(name, seen) ORDER BY g.name
		ON CONFLICT (gateway) DO UPDATE SET seen_at = greatest(gateways.seen_at, excluded.seen_at)`, partition, names, times)
}

// EnsureBoot makes a gateway and its boot known.
func EnsureBoot(ctx context.Context, tx pgx.Tx, gateway string, boot int64, partition int, now time.Time) error {
	var batch pgx.Batch
	batch.Queue(`INSERT INTO gateways (gateway, partition, first_seen_at, seen_at) VALUES ($1, $2, $3, $3) ON CONFLICT DO NOTHING`, gateway, partition, now)
	batch.Queue(`INSERT INTO boots (gateway, boot, first_seen_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, gateway, boot, now)
	return wrap("note gateway", tx.SendBatch(ctx, &batch).Close())
}

// Boots returns the boots of gateways.
func Boots(ctx context.Context, tx pgx.Tx, gateways []string) ([]Boot, error) {
	return collect[Boot](ctx, tx, "read boots", `SELECT `+bootColumns+` FROM boots WHERE gateway = ANY ($1) ORDER BY gateway, boot`, gateways)
}

// AllBoots returns the boots that are open, or not complete, or the newest of their gateway.
func AllBoots(ctx context.Context, tx pgx.Tx) ([]Boot, error) {
	return collect[Boot](ctx, tx, "read boots", `SELECT `+bootColumns+` FROM boots b WHERE closed_at = 0 OR above <> '{}'
		OR boot = (SELECT max(boot) FROM boots n WHERE n.gateway = b.gateway) ORDER BY gateway, boot`)
}

// UpsertBoots writes boots as they are.
func UpsertBoots(ctx context.Context, tx pgx.Tx, boots []Boot) error {
	var batch pgx.Batch
	for _, b := range boots {
		batch.Queue(`INSERT INTO boots (`+bootColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (gateway, boot) DO UPDATE SET floor = excluded.floor, above = excluded.above, highest_started = excluded.highest_started,
				sealed_until = excluded.sealed_until, closed_at = excluded.closed_at, open_at = excluded.open_at,
				first_seen_at = coalesce(boots.first_seen_at, excluded.first_seen_at), sealed_at = excluded.sealed_at`,
			b.Gateway, b.Boot, b.Floor, b.Above, b.HighestStarted, b.SealedUntil, b.ClosedAt, b.OpenAt, b.FirstSeenAt, b.SealedAt)
	}
	return wrap("write boots", tx.SendBatch(ctx, &batch).Close())
}

// Gateways returns every gateway.
func Gateways(ctx context.Context, tx pgx.Tx) ([]Gateway, error) {
	return collect[Gateway](ctx, tx, "read gateways", `SELECT `+gatewayColumns+` FROM gateways ORDER BY gateway`)
}

// LockGateway returns a gateway that stays as it is until the end of the transaction.
func LockGateway(ctx context.Context, tx pgx.Tx, gateway string) (Gateway, error) {
	return one[Gateway](ctx, tx, "read gateway", `SELECT `+gatewayColumns+` FROM gateways WHERE gateway = $1 FOR UPDATE`, gateway)
}

// UpdateGateway writes what has become of a gateway's stream in the log, and until when it is waived.
func UpdateGateway(ctx context.Context, tx pgx.Tx, g Gateway) error {
	return exec(ctx, tx, "write gateway", `UPDATE gateways SET waived_until = $2, version = $3, waived_at = $4, waived_by = $5, waived_reason = $6 WHERE gateway = $1`,
		g.Gateway, g.WaivedUntil, g.Version, g.WaivedAt, g.WaivedBy, g.WaivedReason)
}

// CountLive returns how many gateways were heard of since a time.
func CountLive(ctx context.Context, tx pgx.Tx, since time.Time) (n int64, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*) FROM gateways WHERE seen_at > $1`, since).Scan(&n)
	return n, wrap("count gateways", err)
}

// InsertGap notes numbers that are missing.
func InsertGap(ctx context.Context, tx pgx.Tx, g Gap) error {
	return exec(ctx, tx, "note missing calls", `INSERT INTO gaps (gateway, boot, first_seq, last_seq, after, noticed_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		g.Gateway, g.Boot, g.FirstSeq, g.LastSeq, g.After, g.NoticedAt)
}

// MissingOf returns what is missing of a boot.
func MissingOf(ctx context.Context, tx pgx.Tx, gateway string, boot int64) ([]Gap, error) {
	return collect[Gap](ctx, tx, "read missing calls", readGaps+`WHERE g.closed_at IS NULL AND g.gateway = $1 AND g.boot = $2 ORDER BY g.first_seq`, gateway, boot)
}

// MissingAt returns what was noted as missing and has the given numbers, each of which is the first of some that came in. What is
// missing was noted between numbers that had come, so that no two rows have a number.
func MissingAt(ctx context.Context, tx pgx.Tx, gateways []string, boots, numbers []int64) ([]Gap, error) {
	return collect[Gap](ctx, tx, "read missing calls", readGaps+`WHERE g.closed_at IS NULL AND (g.gateway, g.boot, g.first_seq) IN (
			SELECT f.gateway, f.boot, f.first_seq FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS n(gateway, boot, number) CROSS JOIN LATERAL (
				SELECT * FROM gaps WHERE gateway = n.gateway AND boot = n.boot AND first_seq <= n.number ORDER BY first_seq DESC LIMIT 1) AS f
			WHERE f.last_seq >= n.number)
		ORDER BY g.gateway, g.boot, g.first_seq`, gateways, boots, numbers)
}

// concerning selects what is missing and may belong to the time between two instants: see received.Gap.Concerns.
const concerning = gapTables + `JOIN gateways w ON w.gateway = g.gateway WHERE g.closed_at IS NULL AND w.waived_until <= ` + gapAfter + `
	AND ` + gapAfter + ` < $2 AND (b.closed_at = 0 OR b.closed_at + $3 > $1) `

// Concerning returns what is missing and may belong to the time between two instants, at most so many.
func Concerning(ctx context.Context, tx pgx.Tx, start, end int64, limit int) ([]Gap, error) {
	return collect[Gap](ctx, tx, "read missing calls", `SELECT `+gapColumns+concerning+`ORDER BY g.gateway, g.boot, g.first_seq LIMIT $4`,
		start, end, received.Slack, limit)
}

// CountConcerning counts what Concerning would return.
func CountConcerning(ctx context.Context, tx pgx.Tx, start, end int64) (n int64, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*) `+concerning, start, end, received.Slack).Scan(&n)
	return n, wrap("count missing calls", err)
}

// DueGaps returns what has been missing since before a time and is not yet a gap.
func DueGaps(ctx context.Context, tx pgx.Tx, noticedBefore time.Time) ([]Gap, error) {
	return collect[Gap](ctx, tx, "read missing calls", readGaps+`WHERE g.closed_at IS NULL AND g.opened_at IS NULL AND NOT g.streaming AND g.noticed_at <= $1
		ORDER BY g.gateway, g.boot, g.first_seq LIMIT 500`, noticedBefore)
}

// SetStreaming notes whether the calls of a boot that are not here go on. Those that do not are missing from now on.
func SetStreaming(ctx context.Context, tx pgx.Tx, gateway string, boot int64, firsts []int64, streaming bool, now time.Time) error {
	return exec(ctx, tx, "note streaming calls", `UPDATE gaps SET streaming = $4, noticed_at = CASE WHEN $4 THEN noticed_at ELSE $5 END
		WHERE gateway = $1 AND boot = $2 AND first_seq = ANY ($3)`, gateway, boot, firsts, streaming, now)
}

// OpenGap makes missing numbers a gap; false when they have come in meanwhile.
func OpenGap(ctx context.Context, tx pgx.Tx, g Gap, now time.Time) (bool, error) {
	tag, err := tx.Exec(ctx, `UPDATE gaps SET opened_at = $4 WHERE gateway = $1 AND boot = $2 AND first_seq = $3 AND closed_at IS NULL AND opened_at IS NULL AND NOT streaming`,
		g.Gateway, g.Boot, g.FirstSeq, now)
	return tag.RowsAffected() == 1, wrap("open gap", err)
}

// CloseGap notes that missing numbers have come in. What was no gap yet is forgotten.
func CloseGap(ctx context.Context, tx pgx.Tx, g Gap, now time.Time) error {
	if g.OpenedAt == nil {
		return exec(ctx, tx, "close gap", `DELETE FROM gaps WHERE gateway = $1 AND boot = $2 AND first_seq = $3`, g.Gateway, g.Boot, g.FirstSeq)
	}
	return exec(ctx, tx, "close gap", `UPDATE gaps SET closed_at = $4 WHERE gateway = $1 AND boot = $2 AND first_seq = $3`, g.Gateway, g.Boot, g.FirstSeq, now)
}

// Gaps returns gaps, those that are open or all, in the order of gateway, boot and number, after a key.
func Gaps(ctx context.Context, tx pgx.Tx, all bool, gateway string, boot, first int64, limit int) ([]Gap, error) {
	return collect[Gap](ctx, tx, "list gaps", readGaps+`WHERE g.opened_at IS NOT NULL AND ($1 OR g.closed_at IS NULL)
		AND (g.gateway, g.boot, g.first_seq) > ($2, $3, $4) ORDER BY g.gateway, g.boot, g.first_seq LIMIT $5`, all, gateway, boot, first, limit)
}

// PruneGaps forgets gaps that were closed long ago; the events stay.
func PruneGaps(ctx context.Context, tx pgx.Tx, now time.Time) error {
	return exec(ctx, tx, "forget gaps", `DELETE FROM gaps WHERE closed_at < $1`, now.Add(-window))
}
