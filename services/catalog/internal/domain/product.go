package domain

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

const maxIncludes = 100

// Product is a bundle of API versions for sale.
type Product struct {
	ID, Name string
	Spec     *catalogv1.ProductSpec
	// APIVersions are the ids of spec.includes, in that order.
	APIVersions []string
}

// Reference is what a product needs to know of an API version that it may include.
type Reference struct {
	ID    string
	Stage string
}

// Evolve applies an event.
func (p Product) Evolve(event proto.Message) Product {
	switch e := event.(type) {
	case *catalogv1.ProductCreated:
		return Product{ID: e.GetProduct(), Name: e.GetName(), Spec: e.GetSpec(), APIVersions: e.GetApiVersions()}
	case *catalogv1.ProductChanged:
		p.Spec, p.APIVersions = e.GetSpec(), e.GetApiVersions()
	}
	return p
}

// CreateProduct makes a product. versions are the API versions that exist, by name.
func CreateProduct(id, name string, spec *catalogv1.ProductSpec, versions map[string]Reference) ([]proto.Message, error) {
	ids, err := Product{}.check(spec, versions)
	if err != nil {
		return nil, err
	}
	return []proto.Message{&catalogv1.ProductCreated{Product: id, Name: name, Spec: spec, ApiVersions: ids}}, nil
}

// Change makes the product as the spec says.
func (p Product) Change(spec *catalogv1.ProductSpec, versions map[string]Reference) ([]proto.Message, error) {
	ids, err := p.check(spec, versions)
	if err != nil {
		return nil, err
	}
	if proto.Equal(p.Spec, spec) {
		return nil, nil
	}
	return []proto.Message{&catalogv1.ProductChanged{Product: p.ID, Spec: spec, ApiVersions: ids}}, nil
}

// check returns the ids of the API versions that the spec includes. A retired version may stay in a product but not
// come in.
func (p Product) check(spec *catalogv1.ProductSpec, versions map[string]Reference) ([]string, error) {
	var fields problem.Fields
	checkTitle("spec.title", spec.GetTitle(), &fields)
	checkLength("spec.description", spec.GetDescription(), maxDescription, &fields)
	switch n := len(spec.GetIncludes()); {
	case n == 0:
		fields.Add("spec.includes", "is empty; name at least one API version, as in [{apiVersion: weather-v1}]")
	case n > maxIncludes:
		fields.Add("spec.includes", "has %d API versions; at most %d are taken", n, maxIncludes)
	}
	checkVisibility(spec, &fields)
	var ids []string
	for i, item := range spec.GetIncludes() {
		path := index("spec.includes", i) + ".apiVersion"
		v, found := versions[item.GetApiVersion()]
		switch {
		case !found:
			fields.Add(path, "there is no API version %q; name one that exists", item.GetApiVersion())
		case slices.Contains(ids, v.ID):
			fields.Add(path, "%q is there twice", item.GetApiVersion())
		case v.Stage == Retired && !slices.Contains(p.APIVersions, v.ID):
			fields.Add(path, "%q is retired; include one that is not", item.GetApiVersion())
		default:
			ids = append(ids, v.ID)
		}
	}
	return ids, fields.Err("product-invalid", "The product is not valid.")
}

// The visibilities of a product.
const (
	public  = "public"
	private = "private"
)

const maxAccounts = 1000

func checkVisibility(spec *catalogv1.ProductSpec, fields *problem.Fields) {
	accounts := spec.GetAccounts()
	switch v := spec.GetVisibility(); {
	case v != "" && v != public && v != private:
		fields.Add("spec.visibility", "%q is not a visibility; want public or private", v)
	case v != private && len(accounts) > 0:
		fields.Add("spec.accounts", "names accounts, but every account sees a public product; set visibility to private, or take the accounts out")
	case len(accounts) > maxAccounts:
		fields.Add("spec.accounts", "has %d accounts; at most %d are taken", len(accounts), maxAccounts)
	}
	checkEach("spec.accounts", accounts, fields, func(name string) string {
		if resource.CheckName(name) != nil {
			return "is not the name of an account: want 1 to 63 lower-case letters, digits and hyphens"
		}
		return ""
	})
}
