package app

import (
	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
)

// AuditStates returns how the audit shows what was before and after, by type of stream.
func AuditStates() map[string]audit.State {
	return map[string]audit.State{
		"billing-run": audit.Of(domain.Run.Evolve),
		"invoice":     audit.Of(domain.Invoice.Evolve),
	}
}
