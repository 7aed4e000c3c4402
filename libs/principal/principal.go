// Package principal carries who acts, and the command they gave, in a context.
//
// The edge (libs/operation) puts them in after it has verified a token; libs/postgres reads the tenant to isolate it
// and libs/eventlog writes the actor into each event. Nothing else decides who acts. Any package may import it.
package principal

import (
	"context"
	"slices"
)

// AllTenants is the tenant of a service that acts for the installation: it sees every tenant's rows.
const AllTenants = "*"

// Principal is who acts.
type Principal struct {
	// Tenant is the id of the tenant acted in, or AllTenants.
	Tenant string
	// Subject is "member:<id>", "token:<id>", "client:<client id>" or "service:<name>"; never a person's name or address.
	Subject string
	// Scopes are what the principal may do, for example "catalog.write".
	Scopes []string
	// Operator says that the principal may act on the installation, such as creating tenants.
	Operator bool
	// Account is the id of the one account that the principal may act for, for members of accounts; empty for members of the
	// tenant. libs/operation refuses such a principal everything but operations made for accounts.
	Account string
}

// May says whether p has the scope.
func (p Principal) May(scope string) bool { return slices.Contains(p.Scopes, scope) }

// Service returns the principal of a service acting on its own, in one tenant or in AllTenants.
func Service(name, tenant string) Principal {
	return Principal{Tenant: tenant, Subject: "service:" + name}
}

// Command is what belongs to one command besides its content.
type Command struct {
	// Key is the Idempotency-Key; empty when the client gave none.
	Key string
	// Hash is the SHA-256 of the operation and the request, to tell a repeat from another request with the same key.
	Hash [32]byte
	// Reason is given by the actor for transitions that ask for one.
	Reason        string
	CorrelationID string
	TraceParent   string
	// DryRun asks for the outcome without the effect: everything is rolled back.
	DryRun bool
}

type (
	principalKey struct{}
	commandKey   struct{}
)

// With returns a context in which p acts.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// From returns who acts in ctx, and false when nobody was authenticated.
func From(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}

// WithCommand returns a context that carries c.
func WithCommand(ctx context.Context, c Command) context.Context {
	return context.WithValue(ctx, commandKey{}, c)
}

// CommandFrom returns the command of ctx, or the zero Command.
func CommandFrom(ctx context.Context) Command {
	c, _ := ctx.Value(commandKey{}).(Command)
	return c
}
