package app

import (
	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
)

// AuditStates returns how the audit shows what was before and after, by type of stream.
func AuditStates() map[string]audit.State {
	return map[string]audit.State{
		"tenant":         audit.Of(domain.Tenant.Evolve),
		"member":         audit.Of(domain.Member.Evolve),
		"token":          audit.Of(domain.Token.Evolve),
		"account":        audit.Of(domain.Account.Evolve),
		"application":    audit.Of(domain.Application.Evolve),
		"invitation":     audit.Of(domain.Invitation.Evolve),
		"session":        audit.Of(domain.Session.Evolve),
		"single-sign-on": audit.Of(domain.SingleSignOn.Evolve),
		"role":           audit.Of(domain.Role.Evolve),
	}
}
