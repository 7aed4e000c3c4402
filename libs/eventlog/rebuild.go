package eventlog

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/principal"
)

// ErrNotWhole says that a projection cannot be put in place, because its tables hold more than the events tell.
var ErrNotWhole = errors.New("the projection is not the whole of its tables")

// Projection is tables that follow from the events of a log and from nothing else: no clock, no sequence, no other table.
type Projection struct {
	// Name of the projection: lower case letters, digits, underscores. One Rebuild of a name at a time.
	Name string
	// Tables, without a schema; each has a primary key. Several versions of a projection are tables of several names.
	Tables []string
	// Beside names, by table, the columns that hold what no event has, such as personal data and secrets, or what is not the
	// events' to tell. They are not compared, and a projection that has any cannot be put in place: what they hold would be gone.
	Beside map[string][]string
	// Apply writes one event's effect to the tables, which it names without a schema. Other tables cannot be seen.
	Apply func(ctx context.Context, tx pgx.Tx, e Event) error
}

var projectionName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)

// Validate reports every field that is wrong.
func (p Projection) Validate() error {
	var errs []error
	if !projectionName.MatchString(p.Name) {
		errs = append(errs, fmt.Errorf("projection.name: %q is not a name; use up to 48 lower case letters, digits and underscores", p.Name))
	}
	if len(p.Tables) == 0 {
		errs = append(errs, errors.New("projection.tables: is empty"))
	}
	if p.Apply == nil {
		errs = append(errs, errors.New("projection.apply: missing"))
	}
	return errors.Join(errs...)
}

// Rebuild is a projection that is made again from the log's first event, in a schema of its own beside the live tables,
// which stay in use. It belongs to one goroutine.
type Rebuild struct {
	log        *Log
	projection Projection
	live       string // schema
	shadow     string // schema
	position   uint64 // up to where it is applied
}

// rebuildBatch is how many events are applied in one transaction.
const rebuildBatch = 500

// Rebuild makes a projection again, from position 1 to the head of the log. Compare it, or put it in place with Swap;
// Close in any case.
func (l *Log) Rebuild(ctx context.Context, p Projection) (_ *Rebuild, err error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("rebuild: %w", err)
	}
	r := &Rebuild{log: l, projection: p, shadow: "rebuild_" + p.Name}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("rebuild projection %s: %w", p.Name, err), r.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := l.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error { return r.prepare(ctx, tx) }); err != nil {
		return nil, err
	}
	for {
		events, err := l.Read(ctx, r.position, rebuildBatch)
		if err != nil {
			return nil, err
		}
		if len(events) == 0 {
			return r, nil
		}
		if err := l.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error { return r.apply(ctx, tx, events) }); err != nil {
			return nil, err
		}
		r.position = events[len(events)-1].Position
	}
}

// prepare makes empty tables like the live ones.
func (r *Rebuild) prepare(ctx context.Context, tx pgx.Tx) error {
	if err := tx.QueryRow(ctx, `SELECT current_schema()`).Scan(&r.live); err != nil {
		return err
	}
	schema := pgx.Identifier{r.shadow}.Sanitize()
	if _, err := tx.Exec(ctx, `DROP SCHEMA IF EXISTS `+schema+` CASCADE`); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `CREATE SCHEMA `+schema); err != nil {
		return err
	}
	for _, table := range r.projection.Tables {
		live, shadow := r.names(table)
		if _, err := tx.Exec(ctx, `CREATE TABLE `+shadow+` (LIKE `+live+` INCLUDING ALL)`); err != nil {
			return err
		}
		var keyed bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = $1::regclass AND indisprimary)`, shadow).Scan(&keyed)
		if err != nil {
			return err
		}
		if !keyed {
			return fmt.Errorf("table %s has no primary key: give it one, so that rows can be compared", table)
		}
	}
	return nil
}

func (r *Rebuild) names(table string) (live, shadow string) {
	return pgx.Identifier{r.live, table}.Sanitize(), pgx.Identifier{r.shadow, table}.Sanitize()
}

// apply applies events in a transaction that sees the rebuilt tables only.
func (r *Rebuild) apply(ctx context.Context, tx pgx.Tx, events []Event) error {
	var before string
	if err := tx.QueryRow(ctx, `SELECT current_setting('search_path')`).Scan(&before); err != nil {
		return err
	}
	const setPath = `SELECT set_config('search_path', $1, true)`
	if _, err := tx.Exec(ctx, setPath, pgx.Identifier{r.shadow}.Sanitize()); err != nil {
		return err
	}
	for _, e := range events {
		if e.Payload == nil {
			return fmt.Errorf("event %d: %s: %w", e.Position, e.Type, ErrUnknownType)
		}
		if err := r.projection.Apply(ctx, tx, e); err != nil {
			return fmt.Errorf("apply event %d (%s): %w", e.Position, e.Type, err)
		}
	}
	_, err := tx.Exec(ctx, setPath, before)
	return err
}

// settled runs fn when the rebuilt tables are at the head of the log, which it keeps from growing: the live tables, written
// in the transactions of the appends, are at the same position.
func (r *Rebuild) settled(ctx context.Context, fn func(tx pgx.Tx) error) error {
	position := r.position
	err := r.log.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		var head uint64
		err := tx.QueryRow(ctx, `SELECT position FROM log_head WHERE log = $1 FOR UPDATE`, r.log.name).Scan(&head)
		if err != nil {
			return err
		}
		for position < head {
			events, err := r.log.readIn(ctx, tx, position, rebuildBatch)
			if err == nil {
				err = decodeKnown(events)
			}
			if err != nil {
				return err
			}
			if len(events) == 0 {
				return fmt.Errorf("the event at position %d is missing", position+1)
			}
			if err := r.apply(ctx, tx, events); err != nil {
				return err
			}
			position = events[len(events)-1].Position
		}
		return fn(tx)
	})
	if err != nil {
		return fmt.Errorf("projection %s: %w", r.projection.Name, err)
	}
	r.position = position
	return nil
}

// RowDifference is a row that is in one of the live and the rebuilt table only, in PostgreSQL's text form.
type RowDifference struct {
	Table string
	// Live says that the row is in the live table; otherwise it is in the rebuilt one.
	Live bool
	Row  string
}

// rowDifferences bounds the differences reported for a table.
const rowDifferences = 100

// Compare returns the rows in which the live tables differ from the rebuilt ones, up to a hundred for each table, and none
// when they are equal. Commands wait meanwhile.
func (r *Rebuild) Compare(ctx context.Context) ([]RowDifference, error) {
	var all []RowDifference
	err := r.settled(ctx, func(tx pgx.Tx) error {
		for _, table := range r.projection.Tables {
			live, shadow := r.names(table)
			columns, err := r.columns(ctx, tx, table, true)
			if err != nil {
				return err
			}
			row := ` SELECT ROW(` + columns + `)::text AS row FROM `
			rows, err := tx.Query(ctx, `
				SELECT $1::text, true, d.row FROM (`+row+live+` EXCEPT ALL`+row+shadow+`) d
				UNION ALL
				SELECT $1::text, false, d.row FROM (`+row+shadow+` EXCEPT ALL`+row+live+`) d
				LIMIT $2`, table, rowDifferences)
			if err != nil {
				return err
			}
			differences, err := pgx.CollectRows(rows, pgx.RowToStructByPos[RowDifference])
			if err != nil {
				return err
			}
			all = append(all, differences...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("compare %w", err)
	}
	return all, nil
}

// Swap makes the live tables equal to the rebuilt ones, in one transaction: readers see the old rows or the new ones. Rows
// that are equal are not touched. Commands wait meanwhile.
func (r *Rebuild) Swap(ctx context.Context) error {
	if len(r.projection.Beside) > 0 {
		return fmt.Errorf("swap projection %s: its tables hold what no event has: %w", r.projection.Name, ErrNotWhole)
	}
	err := r.settled(ctx, func(tx pgx.Tx) error {
		for _, table := range r.projection.Tables {
			if err := r.swap(ctx, tx, table); err != nil {
				return fmt.Errorf("table %s: %w", table, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("swap %w", err)
	}
	return nil
}

// columns lists the columns of a table that the events determine, for a statement; generated: also those that an expression
// over others generates, which cannot be written.
func (r *Rebuild) columns(ctx context.Context, tx pgx.Tx, table string, generated bool) (string, error) {
	live, _ := r.names(table)
	rows, err := tx.Query(ctx, `SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0
		AND NOT attisdropped AND NOT attname = ANY($2) AND ($3 OR attgenerated = '') ORDER BY attnum`,
		live, append([]string{}, r.projection.Beside[table]...), generated)
	if err != nil {
		return "", err
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", err
	}
	for i, column := range columns {
		columns[i] = pgx.Identifier{column}.Sanitize()
	}
	return strings.Join(columns, ", "), nil
}

func (r *Rebuild) swap(ctx context.Context, tx pgx.Tx, table string) error {
	live, shadow := r.names(table)
	list, err := r.columns(ctx, tx, table, false)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM `+live+` l WHERE NOT EXISTS (SELECT FROM `+shadow+` s WHERE s::text = l::text)`); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO `+live+` (`+list+`) OVERRIDING SYSTEM VALUE SELECT `+list+` FROM `+shadow+` s
		WHERE NOT EXISTS (SELECT FROM `+live+` l WHERE l::text = s::text)`)
	return err
}

// Close drops the rebuilt tables.
func (r *Rebuild) Close(ctx context.Context) error {
	_, err := r.log.db.Pool().Exec(ctx, `DROP SCHEMA IF EXISTS `+pgx.Identifier{r.shadow}.Sanitize()+` CASCADE`)
	if err != nil {
		return fmt.Errorf("drop the rebuilt projection %s: %w", r.projection.Name, err)
	}
	return nil
}
