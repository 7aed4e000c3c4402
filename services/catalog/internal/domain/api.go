package domain

import (
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// API is a published interface; its versions are aggregates of their own.
type API struct {
	ID, Name string
	Spec     *catalogv1.APISpec
	Deleted  bool
}

// Evolve applies an event.
func (a API) Evolve(event proto.Message) API {
	switch e := event.(type) {
	case *catalogv1.APICreated:
		return API{ID: e.GetApi(), Name: e.GetName(), Spec: e.GetSpec()}
	case *catalogv1.APIChanged:
		a.Spec = e.GetSpec()
	case *catalogv1.APIDeleted:
		a.Deleted = true
	}
	return a
}

func checkAPI(spec *catalogv1.APISpec) error {
	var fields problem.Fields
	checkTitle("spec.title", spec.GetTitle(), &fields)
	checkLength("spec.owner", spec.GetOwner(), maxTitle, &fields)
	checkLength("spec.description", spec.GetDescription(), maxDescription, &fields)
	return fields.Err("api-invalid", "The API is not valid.")
}

// CreateAPI makes an API.
func CreateAPI(id, name string, spec *catalogv1.APISpec) ([]proto.Message, error) {
	if err := checkAPI(spec); err != nil {
		return nil, err
	}
	return []proto.Message{&catalogv1.APICreated{Api: id, Name: name, Spec: spec}}, nil
}

// Change makes the API as the spec says.
func (a API) Change(spec *catalogv1.APISpec) ([]proto.Message, error) {
	if a.Deleted {
		return nil, a.deleted()
	}
	if err := checkAPI(spec); err != nil {
		return nil, err
	}
	if proto.Equal(a.Spec, spec) {
		return nil, nil
	}
	return []proto.Message{&catalogv1.APIChanged{Api: a.ID, Spec: spec}}, nil
}

// Delete takes the API away, which is possible as long as it has had no versions: calls and invoices name them for good.
func (a API) Delete(versions int) ([]proto.Message, error) {
	switch {
	case a.Deleted:
		return nil, nil
	case versions > 0:
		return nil, problem.NewConflict("api-has-versions", "The API %s has %d versions, which calls and invoices refer to, and cannot be deleted; retire its versions instead.", a.Name, versions)
	}
	return []proto.Message{&catalogv1.APIDeleted{Api: a.ID}}, nil
}

func (a API) deleted() error {
	return problem.NewConflict("api-deleted", "The API %s was deleted.", a.Name)
}
