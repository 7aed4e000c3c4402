package app

import (
	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
)

// AuditStates returns how the audit shows what was before and after, by type of stream.
func AuditStates() map[string]audit.State {
	return map[string]audit.State{
		"api":         audit.Of(domain.API.Evolve),
		"api-version": audit.Of(domain.APIVersion.Evolve),
		"ruleset":     audit.Of(domain.Ruleset.Evolve),
		"product":     audit.Of(domain.Product.Evolve),
		"plan":        audit.Of(domain.Plan.Evolve),
	}
}
