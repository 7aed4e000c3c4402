package resource

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
)

// ApplyRequest asks a service to make its resources as these documents say, all of them or none.
type ApplyRequest struct {
	Resources []Resource `json:"resources" required:"true"`
	// Assume lists keys (such as "Application globex-app") of other services' resources that a dry run may take to exist,
	// because they will be applied before.
	Assume []string `json:"assume,omitempty"`
}

// The actions of a Change.
const (
	Created   = "created"
	Changed   = "changed"
	Unchanged = "unchanged"
)

// Change is what applying one resource did, or in a dry run would do.
type Change struct {
	Kind     string          `json:"kind"`
	Metadata Metadata        `json:"metadata"`
	Action   string          `json:"action" enum:"created,changed,unchanged"`
	Before   json.RawMessage `json:"before,omitempty"`
	After    json.RawMessage `json:"after"`
}

// ApplyResponse lists the changes in the order of the request.
type ApplyResponse struct {
	Changes []Change `json:"changes"`
}

// Put makes one resource as its spec says and returns the spec that it had before, nil for none.
type Put func(r Resource, spec proto.Message) (before proto.Message, err error)

// ApplyAll decodes every resource, reports all that is wrong at once, and puts them in order of their kinds, parents
// first. Paths of errors start with "resources[i]". It is to be called in one transaction, which an error rolls back.
func ApplyAll(req ApplyRequest, service string, put Put) (ApplyResponse, error) {
	specs, err := decodeAll(req.Resources, service)
	if err != nil {
		return ApplyResponse{}, err
	}
	changes := make([]Change, len(req.Resources))
	for _, i := range applicationOrder(req.Resources) {
		r := req.Resources[i]
		before, err := put(r, specs[i])
		if err != nil {
			return ApplyResponse{}, at(err, i, r)
		}
		if changes[i], err = describe(r, before, specs[i]); err != nil {
			return ApplyResponse{}, err
		}
	}
	return ApplyResponse{Changes: changes}, nil
}

func decodeAll(resources []Resource, service string) ([]proto.Message, error) {
	var fields problem.Fields
	specs := make([]proto.Message, len(resources))
	seen := map[string]int{}
	for i, r := range resources {
		spec, err := r.Decode()
		if err != nil {
			var invalid *problem.Error
			if !errors.As(err, &invalid) {
				return nil, err
			}
			for _, f := range invalid.Fields {
				fields.Add(fmt.Sprintf("resources[%d].%s", i, f.Path), "%s", f.Message)
			}
			continue
		}
		if kind, _, _ := KindOf(r.Kind); kind.Service != service {
			fields.Add(fmt.Sprintf("resources[%d].kind", i), "%s belongs to the service %s, not to %s", r.Kind, kind.Service, service)
		}
		if first, twice := seen[r.Key()]; twice {
			fields.Add(fmt.Sprintf("resources[%d].metadata.name", i), "%s is there already, as resources[%d]", r.Key(), first)
		}
		seen[r.Key()] = i
		specs[i] = spec
	}
	return specs, fields.Err("resource-invalid", "A resource is not valid; nothing was changed.")
}

func applicationOrder(resources []Resource) []int {
	order := make([]int, len(resources))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		_, x, _ := KindOf(resources[a].Kind)
		_, y, _ := KindOf(resources[b].Kind)
		return x - y
	})
	return order
}

// at adds which resource an error is about to its fields.
func at(err error, i int, r Resource) error {
	var known *problem.Error
	if !errors.As(err, &known) || known.Kind == problem.Internal {
		return fmt.Errorf("apply %s: %w", r.Key(), err)
	}
	located := *known
	located.Fields = nil
	prefix := fmt.Sprintf("resources[%d]", i)
	if len(known.Fields) == 0 {
		return located.With(problem.Field{Path: prefix, Message: known.Message})
	}
	for _, f := range known.Fields {
		path := prefix
		if f.Path != "" {
			path += "." + f.Path
		}
		located.Fields = append(located.Fields, problem.Field{Path: path, Message: f.Message})
	}
	return &located
}

func describe(r Resource, before, after proto.Message) (Change, error) {
	c := Change{Kind: r.Kind, Metadata: r.Metadata, Action: Created}
	var err error
	if c.After, err = EncodeSpec(after); err != nil {
		return Change{}, err
	}
	if before == nil {
		return c, nil
	}
	if c.Before, err = EncodeSpec(before); err != nil {
		return Change{}, err
	}
	c.Action = Changed
	if proto.Equal(before, after) {
		c.Action = Unchanged
	}
	return c, nil
}

// Export is every resource of a service in one tenant, as documents that Apply takes, or a page of them.
type Export struct {
	Resources []Resource `json:"resources"`
	// Next is the cursor to ask for the next page with; empty for the last one.
	Next string `json:"next,omitempty" description:"The cursor of the next page; left out on the last one."`
}

// NewResource returns the document of a spec.
func NewResource(kind string, m Metadata, spec proto.Message) (Resource, error) {
	raw, err := EncodeSpec(spec)
	if err != nil {
		return Resource{}, err
	}
	return Resource{APIVersion: APIVersion, Kind: kind, Metadata: m, Spec: raw}, nil
}
