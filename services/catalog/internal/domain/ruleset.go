package domain

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/ruleset"
)

// RulesetName is the name of a tenant's only ruleset.
const RulesetName = "default"

// The modes of a ruleset.
const (
	report  = "report"
	enforce = "enforce"
)

// Ruleset is what a tenant asks of OpenAPI documents.
type Ruleset struct {
	ID, Name string
	Spec     *catalogv1.RulesetSpec
	Deleted  bool
}

// Evolve applies an event.
func (r Ruleset) Evolve(event proto.Message) Ruleset {
	switch e := event.(type) {
	case *catalogv1.RulesetChanged:
		return Ruleset{ID: e.GetRuleset(), Name: e.GetName(), Spec: e.GetSpec()}
	case *catalogv1.RulesetDeleted:
		r.Deleted = true
	}
	return r
}

// Enforces says whether documents that do not comply are refused.
func Enforces(spec *catalogv1.RulesetSpec) bool { return spec.GetMode() == enforce }

// Put makes the ruleset as the spec says. id is that of the ruleset, or a new one.
func (r Ruleset) Put(id, name string, spec *catalogv1.RulesetSpec) ([]proto.Message, error) {
	if err := CheckRuleset(name, spec); err != nil {
		return nil, err
	}
	if proto.Equal(r.Spec, spec) {
		return nil, nil
	}
	return []proto.Message{&catalogv1.RulesetChanged{Ruleset: id, Name: name, Spec: spec}}, nil
}

// Delete takes the ruleset away.
func (r Ruleset) Delete() []proto.Message {
	if r.Deleted {
		return nil
	}
	return []proto.Message{&catalogv1.RulesetDeleted{Ruleset: r.ID}}
}

// CheckRuleset checks a specification.
func CheckRuleset(name string, spec *catalogv1.RulesetSpec) error {
	var fields problem.Fields
	if name != RulesetName {
		fields.Add("metadata.name", "is %q; a tenant has one ruleset, of the name %q", name, RulesetName)
	}
	checkLength("spec.title", spec.GetTitle(), maxTitle, &fields)
	if m := spec.GetMode(); m != "" && m != report && m != enforce {
		fields.Add("spec.mode", "%q is not a mode; want report or enforce", m)
	}
	if err := ruleset.Check(spec.GetRules(), "spec.rules"); err != nil {
		var known *problem.Error
		if !errors.As(err, &known) {
			return err
		}
		for _, f := range known.Fields {
			fields.Add(f.Path, "%s", f.Message)
		}
	}
	return fields.Err("ruleset-invalid", "The ruleset is not valid.")
}
