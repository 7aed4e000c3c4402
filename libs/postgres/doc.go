// Package postgres owns the way to a service's PostgreSQL database (15 or later): its connection pool, its migrations,
// the isolation of tenants, and the telling of transient failures from lasting ones.
//
// Tenants. Every table with a tenant's rows has a column tenant_id text NOT NULL and is put under row-level security by
// its migration:
//
//	SELECT tollgate_isolate('plans');
//
// From then on a transaction sees and writes only the rows of the tenant it was begun for with InTenant, whatever its
// statements say; one that was begun in another way sees no row and writes none. The setting ends with the transaction,
// so that a pooled connection carries nothing over. Row-level security does not bind superusers: a service connects as
// the role that owns its tables and no more. The policy is a filter, not an access path: queries still name tenant_id
// so that an index serves them.
//
// A DB is safe for concurrent use. Any package of a service's store, app and follow folders may import this one; a
// gateway never does.
package postgres
