package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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

// compare takes versions by their ids.
func (c *Catalog) compare(ctx context.Context, base, revision string) (*inspect.Comparison, error) {
	type pair struct {
		kept           []byte
		base, revision string
	}
	found, err := read(ctx, c, func(tx pgx.Tx, _ string) (p pair, err error) {
		p.kept, err = store.Comparison(ctx, tx, base, revision, comparedBy)
		if err == nil || !errors.Is(err, pgx.ErrNoRows) {
			return p, err
		}
		if p.base, err = store.Document(ctx, tx, base); err != nil {
			return p, err
		}
		p.revision, err = store.Document(ctx, tx, revision)
		return p, err
	})
	if err != nil {
		return nil, err
	}
	if found.kept != nil {
		var kept inspect.Comparison
		if err := json.Unmarshal(found.kept, &kept); err != nil {
			return nil, fmt.Errorf("read comparison: %w", err)
		}
		return &kept, nil
	}
	made, err := c.inspect.Compare(ctx, found.base, found.revision)
	if err != nil {
		return nil, err
	}
	return made, c.keep(ctx, base, revision, made)
}

func (c *Catalog) keep(ctx context.Context, base, revision string, made *inspect.Comparison) error {
	raw, err := json.Marshal(made)
	if err != nil {
		return fmt.Errorf("keep comparison: %w", err)
	}
	_, err = read(ctx, c, func(tx pgx.Tx, tenant string) (struct{}, error) {
		return struct{}{}, store.KeepComparison(ctx, tx, tenant, base, revision, comparedBy, raw)
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

// Changelog returns what happened to the versions of an API, the newest first, before an entry (a zero one for all). Changes of the
// first take entries are found, if they are not known yet; that of the last, which only says that there is more, is not.
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
	entries := make([]Entry, len(rows))
	for i, r := range rows {
		entries[i] = Entry{StageChange: r}
		if r.PreviousID == "" || i >= take {
			continue
		}
		comparison, err := c.compare(ctx, r.PreviousID, r.APIVersionID)
		var known *problem.Error
		switch {
		case err == nil:
			entries[i].Changes = summary(comparison)
		case errors.As(err, &known) && known.Kind != problem.Internal && ctx.Err() == nil:
			entries[i].Unknown = known.Message
		default:
			return nil, err
		}
	}
	return entries, nil
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
