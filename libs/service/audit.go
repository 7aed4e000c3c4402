package service

import (
	"time"

	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/libs/operation"
)

// defaultAuditOrigins is what a configuration has that leaves AuditOrigins at zero.
const defaultAuditOrigins = 90 * 24 * time.Hour

// Audit adds the operations of the audit to a service's table, for callers with the scope (see audit.Register). It comes after
// the followers: a service that does not follow identity's log begins to, to learn of members who are erased.
func (b *Base) Audit(a *operation.API, noun, scope string, states map[string]audit.State) error {
	if _, followed := b.waiters[audit.IdentityLog]; !followed {
		if err := b.Follow(audit.IdentityLog, nil); err != nil {
			return err
		}
	}
	audit.Register(a, b.DB, noun, scope, states)
	return nil
}
