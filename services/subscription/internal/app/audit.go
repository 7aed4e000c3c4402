package app

import (
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/audit"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
)

// AuditStates returns how the audit shows what was before and after, by type of stream.
func AuditStates() map[string]audit.State {
	return map[string]audit.State{
		streamType:      audit.Of(domain.Subscription.Evolve),
		webhookStream:   audit.Of(domain.Webhook.Evolve),
		recipientStream: audit.Of(auditedRecipient.evolve),
	}
}

// auditedRecipient is what the audit shows of a recipient of mail: all but the address.
type auditedRecipient struct {
	ID, Name, Account string
	Events            []string
	Disabled, Deleted bool
}

func (r auditedRecipient) evolve(event proto.Message) auditedRecipient {
	switch e := event.(type) {
	case *subscriptionv1.MailRecipientSet:
		return auditedRecipient{ID: e.GetRecipient(), Name: e.GetName(), Account: e.GetAccount(), Events: e.GetEvents(), Disabled: e.GetDisabled()}
	case *subscriptionv1.MailRecipientDeleted:
		r.Deleted = true
	}
	return r
}
