package app

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// Apply makes subscriptions as the resources say, all of them or none: requests those that are not there, approves those
// that say so, and changes plans. A dry run takes applications and plans to exist that the request assumes.
func (s *Subscriptions) Apply(ctx context.Context, request resource.ApplyRequest) (resource.ApplyResponse, error) {
	assumed := map[string]bool{}
	if principal.CommandFrom(ctx).DryRun {
		for _, key := range request.Assume {
			assumed[key] = true
		}
	}
	response, err := execute(ctx, s, func(ctx context.Context, ch *change) (keptResponse, error) {
		response, err := resource.ApplyAll(request, "subscription", func(r resource.Resource, spec proto.Message) (proto.Message, error) {
			switch after := spec.(type) {
			case *subscriptionv1.SubscriptionSpec:
				before, err := ch.put(ctx, r.Metadata, after, assumed)
				return optionalSpec(before, before != nil, err)
			case *subscriptionv1.WebhookSpec:
				return s.applyWebhook(ctx, ch, r.Metadata.Name, after)
			case *subscriptionv1.MailRecipientSpec:
				return s.applyMailRecipient(ctx, ch, r.Metadata.Name, after, assumed)
			}
			return nil, nil
		})
		return keptResponse{response}, err
	})
	return response.ApplyResponse, err
}

// optionalSpec makes nothing of what was not there before.
func optionalSpec(before proto.Message, there bool, err error) (proto.Message, error) {
	if !there || err != nil {
		return nil, err
	}
	return before, nil
}

// put makes one subscription as the spec says, completes the spec with what it leaves open, and returns what it was before,
// nil for none.
func (ch *change) put(ctx context.Context, m resource.Metadata, spec *subscriptionv1.SubscriptionSpec, assumed map[string]bool) (*subscriptionv1.SubscriptionSpec, error) {
	if spec.GetPlan() == "" {
		return nil, invalid(resourcePaths.plan, "is missing; name the plan")
	}
	row, err := store.FindLive(ctx, ch, ch.tenant, m.Name)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, err
	}
	exists := err == nil
	if exists && row.Application != m.Application {
		return nil, problem.NewConflict("subscription-exists", "The subscription %s is the application %s's.", m.Name, row.Application)
	}
	a, err := ch.application(ctx, resourcePaths, m.Application)
	awaited := err != nil && assumed["Application "+m.Application]
	if err != nil && !awaited {
		return nil, err
	}
	p, planErr := ch.plan(ctx, resourcePaths, spec.GetPlan(), spec.GetProduct(), a)
	if planErr != nil {
		if p.ProductName, err = assumedProduct(assumed, spec, planErr); err != nil {
			return nil, err
		}
		awaited = true
	}
	if exists && row.Product != p.ProductName {
		return nil, problem.NewConflict("other-product", "The subscription %s is one to the product %s, and a subscription stays with its product. Use another name for one to the product %s, and cancel this one if it is not needed.", m.Name, row.Product, p.ProductName)
	}
	spec.Product = p.ProductName
	switch {
	case !exists && awaited: // nothing can be requested yet
		return nil, nil
	case !exists:
		return nil, ch.putNew(ctx, m.Name, a, p.Plan, spec)
	}
	return specOf(row), ch.putExisting(ctx, row, p.Plan, spec, awaited)
}

// specOf is a subscription as a document says it.
func specOf(row store.Subscription) *subscriptionv1.SubscriptionSpec {
	return &subscriptionv1.SubscriptionSpec{
		Plan: row.Plan, Product: row.Product, Approve: row.State != string(domain.Requested), AcceptedTerms: row.AcceptedTerms,
		Limits: row.Limits.Messages(),
	}
}

// assumedProduct returns the name of the product of the plan that a spec names, if a dry run assumes exactly one.
func assumedProduct(assumed map[string]bool, spec *subscriptionv1.SubscriptionSpec, notFound error) (string, error) {
	var products []string
	for key := range assumed {
		product, plan, ok := strings.Cut(strings.TrimPrefix(key, "Plan "), "/")
		if ok && strings.HasPrefix(key, "Plan ") && plan == spec.GetPlan() && (spec.GetProduct() == "" || spec.GetProduct() == product) {
			products = append(products, product)
		}
	}
	if len(products) == 0 || problem.KindOf(notFound) != problem.Invalid {
		return "", notFound
	}
	return only(products, products, resourcePaths, spec.GetPlan(), spec.GetProduct())
}

func (ch *change) putNew(ctx context.Context, name string, a domain.Application, p domain.Plan, spec *subscriptionv1.SubscriptionSpec) error {
	id, err := ch.request(ctx, resourcePaths, name, a, p, spec.GetAcceptedTerms())
	if err != nil {
		return err
	}
	row, err := store.Find(ctx, ch, ch.tenant, id)
	if err != nil {
		return err
	}
	if len(spec.GetLimits()) > 0 {
		if err := ch.setLimits(ctx, resourcePaths, row, spec.GetLimits()); err != nil {
			return err
		}
	}
	if p.NeedsApproval() {
		if !spec.GetApprove() {
			return nil
		}
		return ch.approve(ctx, row, "")
	}
	spec.Approve = row.State != string(domain.Requested) // unless it waits in line, it is active
	return nil
}

func (ch *change) putExisting(ctx context.Context, row store.Subscription, p domain.Plan, spec *subscriptionv1.SubscriptionSpec, awaited bool) error {
	if row.State == string(domain.Requested) {
		if spec.GetApprove() {
			held, err := ch.hold(ctx, row.ID)
			if err != nil {
				return err
			}
			if err := ch.approve(ctx, held, ""); err != nil {
				return err
			}
		}
	} else {
		spec.Approve = true // it was approved, whatever the document says
	}
	if !awaited && p.ID != row.PlanID { // a newer version of the same plan is for ChangePlan
		if err := ch.changePlan(ctx, resourcePaths, row.ID, p, spec.GetAcceptedTerms()); err != nil {
			return err
		}
	} else if err := checkAccepted(row, spec, awaited); err != nil {
		return err
	}
	row, err := store.Find(ctx, ch, ch.tenant, row.ID)
	if err != nil || awaited {
		return err
	}
	spec.AcceptedTerms = row.AcceptedTerms
	if len(spec.GetLimits()) == 0 {
		return ch.clearLimits(ctx, row)
	}
	return ch.setLimits(ctx, resourcePaths, row, spec.GetLimits())
}

// checkAccepted refuses a document that accepts other terms than those of the plan version that the subscription is under.
func checkAccepted(row store.Subscription, spec *subscriptionv1.SubscriptionSpec, awaited bool) error {
	if awaited || spec.GetAcceptedTerms() == "" || spec.GetAcceptedTerms() == row.AcceptedTerms {
		return nil
	}
	return invalid(resourcePaths.terms, "is %q, but what was accepted for version %d of the plan %s is %q; other terms are accepted by changing the plan (POST …/plan)",
		spec.GetAcceptedTerms(), row.PlanVersion, row.Plan, row.AcceptedTerms)
}

// exportPage is how many rows are read at once for an export.
const exportPage = 1000

// Export returns every live subscription, and everybody who is told of what happens to them, as documents that Apply takes.
func (s *Subscriptions) Export(ctx context.Context) (resource.Export, error) {
	return read(ctx, s, func(tx pgx.Tx, tenant string) (resource.Export, error) {
		out := resource.Export{Resources: []resource.Resource{}}
		for after := ""; ; {
			rows, err := store.List(ctx, tx, tenant, store.Filter{}, after, exportPage)
			if err != nil {
				return out, err
			}
			for _, row := range rows {
				after = row.ID
				if state := domain.State(row.State); !state.Live() {
					continue
				}
				r, err := resource.NewResource("Subscription", resource.Metadata{Name: row.Name, Application: row.Application},
					specOf(row))
				if err != nil {
					return out, err
				}
				out.Resources = append(out.Resources, r)
			}
			if len(rows) < exportPage {
				return out, exportTold(ctx, tx, tenant, &out)
			}
		}
	})
}
