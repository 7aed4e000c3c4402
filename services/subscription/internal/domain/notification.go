package domain

import (
	"fmt"
	"net/mail"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

// EventType is how a transition is called in webhooks and in the filters of those who are told.
func EventType(transition string) string { return "subscription." + transition }

// EventTypes returns every type.
func EventTypes() []string {
	var types []string
	for _, transition := range []string{
		"requested", "waitlisted", "admitted", "activated", "rejected", "expired", "suspended", "resumed", "cancelled",
		"planChanged", "limitsSet", "limitsCleared", "commented",
	} {
		types = append(types, EventType(transition))
	}
	return types
}

// checkEvents checks a filter of event types.
func checkEvents(path string, events []string, fields *problem.Fields) {
	for i, e := range events {
		switch {
		case !slices.Contains(EventTypes(), e):
			fields.Add(fmt.Sprintf("%s[%d]", path, i), "%q is not an event; want some of %s", e, strings.Join(EventTypes(), ", "))
		case slices.Index(events, e) < i:
			fields.Add(fmt.Sprintf("%s[%d]", path, i), "%q is there twice", e)
		}
	}
}

// Webhook is an endpoint that is told what happens to subscriptions.
type Webhook struct {
	ID, Name string
	Spec     *subscriptionv1.WebhookSpec
	Deleted  bool
}

// Evolve applies an event.
func (w Webhook) Evolve(event proto.Message) Webhook {
	switch e := event.(type) {
	case *subscriptionv1.WebhookSet:
		return Webhook{ID: e.GetWebhook(), Name: e.GetName(), Spec: e.GetSpec()}
	case *subscriptionv1.WebhookDeleted:
		w.Deleted = true
	}
	return w
}

// Set makes the webhook as the specification says; it exists if it has an id. at is the path of the specification, with its
// dot, for errors. The URL is checked by who knows webhooks.
func (w Webhook) Set(id, name string, spec *subscriptionv1.WebhookSpec, at string) ([]proto.Message, error) {
	var fields problem.Fields
	checkEvents(at+"events", spec.GetEvents(), &fields)
	if err := fields.Err("webhook-invalid", "The webhook is not valid."); err != nil {
		return nil, err
	}
	if proto.Equal(w.Spec, spec) {
		return nil, nil
	}
	return []proto.Message{&subscriptionv1.WebhookSet{Webhook: id, Name: name, Spec: spec}}, nil
}

// Rotate has the webhook sign with another secret.
func (w Webhook) Rotate() []proto.Message {
	return []proto.Message{&subscriptionv1.WebhookSecretRotated{Webhook: w.ID}}
}

// Delete ends the webhook.
func (w Webhook) Delete() []proto.Message {
	return []proto.Message{&subscriptionv1.WebhookDeleted{Webhook: w.ID}}
}

// maxAddress is the longest mail address, in bytes (RFC 5321, section 4.5.3.1.3).
const maxAddress = 254

// CheckMailRecipient checks what somebody who gets mail is set to. at is as for Webhook.Set.
func CheckMailRecipient(address string, events []string, at string) error {
	var fields problem.Fields
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Address != address || len(address) > maxAddress {
		fields.Add(at+"address", `is not a mail address as in "api-team@example.com"`) // which is not repeated: it is personal
	}
	checkEvents(at+"events", events, &fields)
	return fields.Err("recipient-invalid", "The recipient is not valid.")
}
