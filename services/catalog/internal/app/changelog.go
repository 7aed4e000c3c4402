package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/catalog/internal/inspect"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// comparedBy names what compares documents: results of an earlier one are made again.
const comparedBy = "oasdiff 1.36.0"

// Compare returns what differs between two versions. They need not be of the same API.
func (c *Catalog) Compare(ctx context.Context, base, revision string) (*inspect.Comparison, error) {
	before, err := c.APIVersion(ctx, base)
	if err != nil {
		return nil, err
	}
	after, err := c.APIVersion(ctx, revision)
	if err != nil {
		return nil, err
	}
	return c.compare(ctx, before.ID, after.ID)
}

// retryAfter is how long it is kept that a comparison took too much. The machine may have been busy, or the settings are others then.
const retryAfter = 24 * time.Hour

// kept is what is kept of comparing two versions: what was found, or why nothing was.
type kept struct {
	*inspect.Comparison
	Failure *failure `json:"failure,omitempty"`
}

type failure struct{ Code, Message string }

func (k kept) outcome() (*inspect.Comparison, error) {
	if f := k.Failure; f != nil {
		return nil, problem.NewExhausted(f.Code, "%s", f.Message)
	}
	return k.Comparison, nil
}

// compare takes versions by their ids.
func (c *Catalog) compare(ctx context.Context, base, revision string) (*inspect.Comparison, error) {
	found, err := c.compared(ctx, base, revision)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return c.compareNow(ctx, base, revision)
	}
	return found.outcome()
}

// compared returns what is kept of comparing two versions, nil for nothing.
func (c *Catalog) compared(ctx context.Context, base, revision string) (*kept, error) {
	raw, err := read(ctx, c, func(tx pgx.Tx, _ string) ([]byte, error) {
		return store.Comparison(ctx, tx, base, revision, comparedBy)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var k kept
	if err := json.Unmarshal(raw, &k); err != nil {
		return nil, fmt.Errorf("read comparison: %w", err)
	}
	return &k, nil
}

// compareNow compares two versions and keeps what is found, or that it takes too much.
func (c *Catalog) compareNow(ctx context.Context, base, revision string) (*inspect.Comparison, error) {
	type pair struct{ tenant, base, revision string }
	texts, err := read(ctx, c, func(tx pgx.Tx, tenant string) (p pair, err error) {
		p.tenant = tenant
		if p.base, err = store.Document(ctx, tx, base); err != nil {
			return p, err
		}
		p.revision, err = store.Document(ctx, tx, revision)
		return p, err
	})
	if err != nil {
		return nil, err
	}
	var k kept
	k.Comparison, err = c.inspect.Compare(ctx, texts.tenant, texts.base, texts.revision)
	var known *problem.Error
	keep := time.Duration(0)
	switch {
	case errors.As(err, &known) && known.Kind == problem.Exhausted:
		k.Failure, keep = &failure{known.Code, known.Message}, retryAfter
	case err != nil:
		return nil, err
	}
	if err := c.keep(ctx, base, revision, k, keep); err != nil {
		return nil, err
	}
	return k.outcome()
}

func (c *Catalog) keep(ctx context.Context, base, revision string, k kept, keep time.Duration) error {
	raw, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("keep comparison: %w", err)
	}
	_, err = read(ctx, c, func(tx pgx.Tx, tenant string) (struct{}, error) {
		return struct{}{}, store.KeepComparison(ctx, tx, tenant, base, revision, comparedBy, raw, keep)
	})
	return err
}

// maxBreaking is how many breaking changes an entry of a changelog has.
const maxBreaking = 50

// Entry is one entry of a changelog.
type Entry struct {
	store.StageChange
	// Changes is what the version changed, where it was published after another.
	Changes *Changes `json:"changes,omitempty"`
	// Unknown says why the changes could not be found.
	Unknown string `json:"unknown,omitempty" description:"Why the changes could not be found."`
}

// Changes are numbers of changes, with the breaking ones.
type Changes struct {
	Total    int              `json:"total"`
	Risky    int              `json:"risky" description:"Changes that may break clients."`
	Breaking int              `json:"breaking"`
	List     []inspect.Change `json:"list,omitempty" description:"The first breaking changes; see CompareAPIVersions for all."`
}

// notCompared stands for changes that could not be found in the time that a request has. Each request finds some.
const notCompared = "They take longer to find than one request may take; ask again."

// answerTime is what is left of a request's time to answer in.
const answerTime = 3 * time.Second

// Changelog returns what happened to the versions of an API, the newest first, before an entry (a zero one for all). Changes of the
// first take entries are found, if they are not known yet, as long as there is time; those of the last, which only says that there is
// more, are not.
func (c *Catalog) Changelog(ctx context.Context, api string, before store.StageChange, take int) ([]Entry, error) {
	row, err := c.API(ctx, api)
	if err != nil {
		return nil, err
	}
	rows, err := read(ctx, c, func(tx pgx.Tx, tenant string) ([]store.StageChange, error) {
		return store.Changelog(ctx, tx, tenant, row.ID, before, take+1)
	})
	if err != nil {
		return nil, err
	}
	bounded := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		bounded, cancel = context.WithDeadline(ctx, deadline.Add(-answerTime))
		defer cancel()
	}
	entries := make([]Entry, len(rows))
	for i, r := range rows {
		entries[i] = Entry{StageChange: r}
		if r.PreviousID == "" || i >= take {
			continue
		}
		if err := c.changes(ctx, bounded, &entries[i]); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// changes finds what the version of an entry changed. What is not kept is compared until bounded ends.
func (c *Catalog) changes(ctx, bounded context.Context, e *Entry) error {
	found, err := c.compared(ctx, e.PreviousID, e.APIVersionID)
	if err != nil {
		return err
	}
	var comparison *inspect.Comparison
	switch {
	case found != nil:
		comparison, err = found.outcome()
	case bounded.Err() == nil:
		comparison, err = c.compareNow(bounded, e.PreviousID, e.APIVersionID)
	}
	var known *problem.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case comparison != nil:
		e.Changes = summary(comparison)
	case found == nil && bounded.Err() != nil:
		e.Unknown = notCompared
	case errors.As(err, &known) && known.Kind != problem.Internal:
		e.Unknown = known.Message
	default:
		return err
	}
	return nil
}

func summary(c *inspect.Comparison) *Changes {
	s := &Changes{Total: c.Total, Risky: c.Risky, Breaking: c.Breaking}
	for _, change := range c.Changes {
		if change.Level == inspect.Breaking && len(s.List) < maxBreaking {
			s.List = append(s.List, change)
		}
	}
	return s
}
