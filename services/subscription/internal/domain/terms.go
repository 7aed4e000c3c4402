package domain

import (
	"fmt"

	"github.com/tollgate/tollgate/libs/problem"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

// Terms of a plan, as they were accepted.
type Terms struct{ Version, URL string }

func termsOf(t *subscriptionv1.AcceptedTerms) Terms { return Terms{t.GetVersion(), t.GetUrl()} }

// accept checks that the plan's terms are accepted, now or already, and returns what is accepted now: nil for nothing.
func (p Plan) accept(already Terms, accepted Acceptance) (*subscriptionv1.AcceptedTerms, error) {
	terms := Terms{p.Spec.GetTerms().GetVersion(), p.Spec.GetTerms().GetUrl()}
	refuse := func(code, format string, args ...any) error {
		return problem.NewInvalid(code, "The terms of the plan %s are not accepted.", p.Name).With(
			problem.Field{Path: accepted.Path, Message: fmt.Sprintf(format, args...)})
	}
	switch {
	case terms == Terms{} && accepted.Version != "":
		return nil, refuse("terms-unknown", "is %q, but version %d of the plan has no terms; leave it out", accepted.Version, p.Version)
	case terms == already && (accepted.Version == "" || accepted.Version == terms.Version):
		return nil, nil
	case accepted.Version == "":
		return nil, refuse("terms-not-accepted", "is missing; read the terms %q at %s and accept them by giving their version, %q", terms.Version, terms.URL, terms.Version)
	case accepted.Version != terms.Version:
		return nil, refuse("terms-not-accepted", "is %q, but the terms are now %q, at %s; read those and give their version", accepted.Version, terms.Version, terms.URL)
	}
	return &subscriptionv1.AcceptedTerms{Version: terms.Version, Url: terms.URL}, nil
}
