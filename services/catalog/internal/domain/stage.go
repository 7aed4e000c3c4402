package domain

import (
	"slices"
	"strings"

	"github.com/tollgate/tollgate/libs/problem"
)

// The stages of an API version.
const (
	Draft      = "draft"      // being worked on: not served
	Mocked     = "mocked"     // served from the document's examples, before there is an upstream
	Published  = "published"  // served
	Deprecated = "deprecated" // served, on its way out
	Retired    = "retired"    // over for good: not served
)

// transitions are the stages that each stage may be followed by.
var transitions = []struct {
	from string
	to   []string
}{
	{Draft, []string{Mocked, Published, Retired}},
	{Mocked, []string{Draft, Published, Retired}},
	{Published, []string{Deprecated}},
	{Deprecated, []string{Published, Retired}},
	{Retired, nil},
}

// Stages returns every stage, in the order of the life cycle.
func Stages() []string {
	names := make([]string, len(transitions))
	for i, t := range transitions {
		names[i] = t.from
	}
	return names
}

// Live says whether gateways serve versions of the stage.
func Live(stage string) bool { return stage == Mocked || stage == Published || stage == Deprecated }

// needsUpstream says whether versions of the stage have traffic to send on.
func needsUpstream(stage string) bool { return stage == Published || stage == Deprecated }

func checkTransition(version, from, to string) error {
	for _, t := range transitions {
		if t.from != from {
			continue
		}
		switch {
		case slices.Contains(t.to, to):
			return nil
		case len(t.to) == 0:
			return problem.NewConflict("stage-final", "The API version %s is %s, which is final; register a new version.", version, from)
		}
		return problem.NewConflict("stage-not-allowed", "The API version %s is %s and cannot become %s; it can become %s.", version, from, to, strings.Join(t.to, " or "))
	}
	return nil
}

func checkStage(path, stage string, fields *problem.Fields) {
	if !slices.Contains(Stages(), stage) {
		fields.Add(path, "%q is not a stage; want %s", stage, strings.Join(Stages(), ", "))
	}
}
