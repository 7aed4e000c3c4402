package app

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/resource"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// Apply makes APIs, their versions, products and plans as the resources say, all of them or none. In the changes that it
// returns, OpenAPI documents are replaced by their digests.
func (c *Catalog) Apply(ctx context.Context, request resource.ApplyRequest) (resource.ApplyResponse, error) {
	specs := map[string]*catalogv1.APIVersionSpec{}
	for _, r := range request.Resources {
		if r.Kind != "APIVersion" {
			continue
		}
		if spec, err := r.Decode(); err == nil { // what is wrong with it is reported below, with the rest
			specs[r.Metadata.Name], _ = spec.(*catalogv1.APIVersionSpec)
		}
	}
	rules, err := c.rulesAfter(ctx, request)
	if err != nil {
		return resource.ApplyResponse{}, err
	}
	documents, err := c.read(ctx, specs, rules)
	if err != nil {
		return resource.ApplyResponse{}, err
	}
	return execute(ctx, c, documents, func(ctx context.Context, ch *change) (resource.ApplyResponse, error) {
		return resource.ApplyAll(request, "catalog", func(r resource.Resource, spec proto.Message) (proto.Message, error) {
			return ch.put(ctx, r, spec)
		})
	})
}

// rulesAfter returns the ruleset that there will be once the request is applied: documents in it go by that.
func (c *Catalog) rulesAfter(ctx context.Context, request resource.ApplyRequest) (*catalogv1.RulesetSpec, error) {
	for _, r := range request.Resources {
		if r.Kind != "Ruleset" {
			continue
		}
		spec, err := r.Decode()
		if err != nil {
			return nil, nil //nolint:nilerr // the resource is refused, with the others, when it is applied
		}
		if rules, ok := spec.(*catalogv1.RulesetSpec); ok && domain.CheckRuleset(r.Metadata.Name, rules) == nil {
			return rules, nil
		}
		return nil, nil
	}
	return c.rules(ctx)
}

func (ch *change) put(ctx context.Context, r resource.Resource, spec proto.Message) (proto.Message, error) {
	switch s := spec.(type) {
	case *catalogv1.RulesetSpec:
		before, err := ch.putRuleset(ctx, r.Metadata.Name, s)
		return orNil(before), err
	case *catalogv1.APISpec:
		before, err := ch.putAPI(ctx, r.Metadata.Name, s)
		return orNil(before), err
	case *catalogv1.APIVersionSpec:
		before, err := ch.putAPIVersion(ctx, r.Metadata.API, r.Metadata.Name, s)
		if err != nil {
			return nil, err
		}
		summary, err := summarize(before, s)
		return orNil(summary), err
	case *catalogv1.ProductSpec:
		before, err := ch.putProduct(ctx, r.Metadata.Name, s)
		return orNil(before), err
	case *catalogv1.PlanSpec:
		before, err := ch.publishPlan(ctx, r.Metadata.Product, r.Metadata.Name, s)
		return orNil(before), err
	}
	return nil, nil
}

// summarize returns the specification that a version had before and completes the new one with what it leaves as it was.
// Both have the digest in place of the document.
func summarize(row *store.APIVersion, after *catalogv1.APIVersionSpec) (*catalogv1.APIVersionSpec, error) {
	text, err := document.Unpack(after.GetOpenapi())
	if err != nil {
		return nil, err
	}
	digest := document.Digest(text)
	stage := domain.Draft
	if row != nil {
		stage = row.Stage
	}
	if after.GetStage() == "" {
		after.Stage = stage
	}
	if row == nil {
		after.Openapi = digestPrefix + digest
		return nil, nil
	}
	if text == "" {
		digest = row.DocumentSHA256
	}
	before, _ := proto.Clone(row.Spec.Message).(*catalogv1.APIVersionSpec)
	before.Openapi, after.Openapi = digestPrefix+row.DocumentSHA256, digestPrefix+digest
	return before, nil
}

const digestPrefix = "sha256:"

// orNil turns a nil pointer into a nil message.
func orNil[T any, M interface {
	*T
	proto.Message
}](m M) proto.Message {
	if m == nil {
		return nil
	}
	return m
}
