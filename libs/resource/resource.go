// Package resource owns the declarative documents that providers keep in files and apply: their envelope
// (apiVersion, kind, metadata, spec), the kinds there are, and the strict decoding of a spec into its protobuf message.
//
// The same spec messages travel in events and in the management API, so a field has one name and one meaning
// everywhere. Decoding refuses unknown fields and wrong types and names the path of each. Everything here is pure.
package resource

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

// APIVersion is the only value of a document's apiVersion.
const APIVersion = "tollgate/v1"

// Metadata names a resource. Which of the parents is set depends on the kind.
type Metadata struct {
	// Name is unique within the tenant and kind (for a Plan: within its product).
	Name        string `json:"name"`
	API         string `json:"api,omitempty"`
	Product     string `json:"product,omitempty"`
	Account     string `json:"account,omitempty"`
	Application string `json:"application,omitempty"`
}

// Resource is one document.
type Resource struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Metadata   Metadata        `json:"metadata"`
	Spec       json.RawMessage `json:"spec"`
}

// Key identifies a resource within a tenant.
func (r Resource) Key() string {
	if r.Kind == "Plan" {
		return r.Kind + " " + r.Metadata.Product + "/" + r.Metadata.Name
	}
	return r.Kind + " " + r.Metadata.Name
}

// Kind describes one kind of resource.
type Kind struct {
	Name string
	// Service that owns it.
	Service string
	// Parent is the metadata field that names the parent, and ParentKind its kind; empty for none.
	Parent     string
	ParentKind string
	New        func() proto.Message
}

// Kinds returns every kind in the order in which resources are applied: parents first.
func Kinds() []Kind {
	return []Kind{
		{Name: "Account", Service: "identity", New: func() proto.Message { return &identityv1.AccountSpec{} }},
		{Name: "Application", Service: "identity", Parent: "account", ParentKind: "Account", New: func() proto.Message { return &identityv1.ApplicationSpec{} }},
		{Name: "Ruleset", Service: "catalog", New: func() proto.Message { return &catalogv1.RulesetSpec{} }},
		{Name: "API", Service: "catalog", New: func() proto.Message { return &catalogv1.APISpec{} }},
		{Name: "APIVersion", Service: "catalog", Parent: "api", ParentKind: "API", New: func() proto.Message { return &catalogv1.APIVersionSpec{} }},
		{Name: "Product", Service: "catalog", New: func() proto.Message { return &catalogv1.ProductSpec{} }},
		{Name: "Plan", Service: "catalog", Parent: "product", ParentKind: "Product", New: func() proto.Message { return &catalogv1.PlanSpec{} }},
		{Name: "Subscription", Service: "subscription", Parent: "application", ParentKind: "Application", New: func() proto.Message { return &subscriptionv1.SubscriptionSpec{} }},
		{Name: "Webhook", Service: "subscription", New: func() proto.Message { return &subscriptionv1.WebhookSpec{} }},
		{Name: "MailRecipient", Service: "subscription", New: func() proto.Message { return &subscriptionv1.MailRecipientSpec{} }},
		{Name: "AlertRule", Service: "analytics", New: func() proto.Message { return &analyticsv1.AlertRuleSpec{} }},
		{Name: "Report", Service: "analytics", New: func() proto.Message { return &analyticsv1.ReportSpec{} }},
	}
}

// Services returns the services that own resources, in the order in which they are applied.
func Services() []string {
	var services []string
	for _, k := range Kinds() {
		if !slices.Contains(services, k.Service) {
			services = append(services, k.Service)
		}
	}
	return services
}

// KindOf returns the kind of that name and its place in the order of Kinds.
func KindOf(name string) (Kind, int, bool) {
	for i, k := range Kinds() {
		if k.Name == name {
			return k, i, true
		}
	}
	return Kind{}, 0, false
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckName says whether text can name a resource: it is a DNS label (RFC 1123, section 2.1) and not a UUID, so that
// a path may take a name or an id.
func CheckName(text string) error {
	if !namePattern.MatchString(text) {
		return fmt.Errorf("%q is not a name: want 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends", text)
	}
	if len(text) == 36 && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-' {
		return fmt.Errorf("%q looks like an id: choose another name", text)
	}
	return nil
}

func (m Metadata) parent(field string) string {
	return map[string]string{"api": m.API, "product": m.Product, "account": m.Account, "application": m.Application}[field]
}

// Parent returns the name of the resource's parent, or "" where its kind has none.
func (r Resource) Parent() string {
	kind, _, _ := KindOf(r.Kind)
	return r.Metadata.parent(kind.Parent)
}

// Decode checks the document's envelope and decodes its spec. All that is wrong is reported at once, with paths that
// start at the document's root, as in "spec.prices[1].unit".
func (r Resource) Decode() (proto.Message, error) {
	var fields problem.Fields
	if r.APIVersion != APIVersion {
		fields.Add("apiVersion", "is %q; the only one there is is %q", r.APIVersion, APIVersion)
	}
	kind, _, ok := KindOf(r.Kind)
	if !ok {
		fields.Add("kind", "%q is not a kind; want one of %s", r.Kind, kindNames())
		return nil, fields.Err("resource-invalid", "The resource is not valid.")
	}
	r.checkMetadata(kind, &fields)
	spec := kind.New()
	DecodeSpec(r.Spec, spec, "spec", &fields)
	if err := fields.Err("resource-invalid", "The resource is not valid."); err != nil {
		return nil, err
	}
	return spec, nil
}

func (r Resource) checkMetadata(kind Kind, fields *problem.Fields) {
	if err := CheckName(r.Metadata.Name); err != nil {
		fields.Add("metadata.name", "%s", err)
	}
	for _, field := range []string{"api", "product", "account", "application"} {
		value := r.Metadata.parent(field)
		switch {
		case field == kind.Parent && value == "":
			fields.Add("metadata."+field, "is missing; name the %s that the %s belongs to", kind.ParentKind, kind.Name)
		case field != kind.Parent && value != "":
			fields.Add("metadata."+field, "does not belong to a %s; remove it", kind.Name)
		}
	}
}

func kindNames() string {
	text := ""
	for i, k := range Kinds() {
		if i > 0 {
			text += ", "
		}
		text += k.Name
	}
	return text
}
