package problem_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/problem"
)

func TestFromShowsKnownErrors(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("publish plan: %w",
		problem.NewInvalid("plan-invalid", "The plan is not valid.").
			With(problem.Field{Path: "currency", Message: `"XXQ" is not an ISO 4217 code`}).
			Wrap(errors.New("password=hunter2")))
	doc := problem.From(err)
	require.Equal(t, problem.Document{
		Type: "urn:tollgate:problem:plan-invalid", Title: "Bad Request", Status: 400,
		Detail: "The plan is not valid.", Code: "plan-invalid",
		Errors: []problem.Field{{Path: "currency", Message: `"XXQ" is not an ISO 4217 code`}},
	}, doc)
	require.Equal(t, problem.Invalid, problem.KindOf(err))
}

func TestFromHidesUnknownErrors(t *testing.T) {
	t.Parallel()
	doc := problem.From(errors.New(`dial tcp 10.0.0.7:5432: password "hunter2" refused`))
	require.Equal(t, 500, doc.Status)
	require.Equal(t, "internal", doc.Code)
	require.NotContains(t, doc.Detail, "hunter2")
	require.Equal(t, problem.Internal, problem.KindOf(errors.New("x")))
}

func TestEveryKindSurvivesTheWire(t *testing.T) {
	t.Parallel()
	for _, e := range []*problem.Error{
		problem.NewInvalid("a", "a"), problem.NewUnauthenticated("b", "b"), problem.NewDenied("c", "c"),
		problem.NewNotFound("d", "d"), problem.NewConflict("e", "e"), problem.NewExhausted("f", "f"),
		problem.NewTooLarge("g", "g"), problem.NewUnavailable("h", "h"), problem.NewTimeout("i", "i"),
		problem.NewUnsupportedMedia("j", "j"),
	} {
		require.Equal(t, e, problem.From(e).ToError())
	}
}

func TestFieldsCollects(t *testing.T) {
	t.Parallel()
	var fields problem.Fields
	require.NoError(t, fields.Err("x", "x"))
	fields.Add("name", "is empty; give a name of %d characters or more", 1)
	require.ErrorContains(t, fields.Err("x", "Not valid."), "name: is empty")
}
