package app

import (
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/audit"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/domain"
)

// AuditStates returns how the audit shows what was before and after, by type of stream.
func AuditStates() map[string]audit.State {
	return map[string]audit.State{
		"alert-rule":     audit.Of(domain.Rule.Evolve),
		"report":         audit.Of(domain.Report.Evolve),
		"settings":       audit.Of(auditedSettings.evolve),
		"reconciliation": audit.Of(lastFailure),
	}
}

// auditedSettings is what the log says of a tenant's settings, which are the defaults where it says nothing.
type auditedSettings struct {
	RetentionDays   uint32
	ClientAddresses string
	// WebhookSecrets is the number of secrets that webhooks were signed with.
	WebhookSecrets int
}

func (s auditedSettings) evolve(event proto.Message) auditedSettings {
	switch e := event.(type) {
	case *analyticsv1.SettingsChanged:
		s.RetentionDays, s.ClientAddresses = e.GetRetentionDays(), e.GetClientAddresses()
	case *analyticsv1.WebhookSecretRotated:
		s.WebhookSecrets++
	}
	return s
}
