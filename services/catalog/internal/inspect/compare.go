package inspect

import (
	"context"
	"fmt"

	"github.com/oasdiff/oasdiff/checker"
	"github.com/oasdiff/oasdiff/diff"
	"github.com/oasdiff/oasdiff/load"

	"github.com/tollgate/tollgate/services/catalog/internal/document"
)

// maxChanges is the largest number of changes that are listed.
const maxChanges = 2000

// The levels of changes.
const (
	Breaking = "breaking"
	Risky    = "risky"
	Info     = "info"
)

// Comparison is what differs between a document and the one before it.
type Comparison struct {
	// Breaking is the number of changes that break clients, and Risky that of changes that may.
	Breaking int `json:"breaking"`
	Risky    int `json:"risky"`
	// Total is the number of all changes, and Changes the first 2000, the gravest first.
	Total   int      `json:"total"`
	Changes []Change `json:"changes"`
}

// Change is one difference.
type Change struct {
	// Rule names the kind of change, as oasdiff does.
	Rule string `json:"rule"`
	// Level is breaking, risky or info.
	Level     string `json:"level" enum:"breaking,risky,info"`
	Method    string `json:"method,omitempty"`
	Path      string `json:"path,omitempty"`
	Operation string `json:"operation,omitempty" description:"operationId."`
	Text      string `json:"text"`
	// Comment says more about what the change means.
	Comment string `json:"comment,omitempty"`
}

func compare(ctx context.Context, p CompareParams) (*Comparison, error) {
	base, err := document.Load(ctx, p.Base)
	if err != nil {
		return nil, fmt.Errorf("the document before: %w", err)
	}
	revision, err := document.Load(ctx, p.Revision)
	if err != nil {
		return nil, fmt.Errorf("the document after: %w", err)
	}
	found, sources, err := diff.GetWithOperationsSourcesMap(diff.NewConfig(), &load.SpecInfo{Spec: base, Url: "base"}, &load.SpecInfo{Spec: revision, Url: "revision"})
	if err != nil {
		return nil, err
	}
	words := checker.NewDefaultLocalizer()
	c := &Comparison{Changes: []Change{}}
	for _, change := range checker.CheckBackwardCompatibilityUntilLevel(checker.NewConfig(checker.GetAllChecks()), found, sources, checker.INFO) {
		c.Total++
		level := Info
		switch change.GetLevel() {
		case checker.ERR:
			level = Breaking
			c.Breaking++
		case checker.WARN:
			level = Risky
			c.Risky++
		}
		if len(c.Changes) < maxChanges {
			c.Changes = append(c.Changes, Change{
				Rule: change.GetId(), Level: level, Method: change.GetOperation(), Path: change.GetPath(), Operation: change.GetOperationId(),
				Text: change.GetUncolorizedText(words), Comment: change.GetComment(words),
			})
		}
	}
	return c, nil
}
