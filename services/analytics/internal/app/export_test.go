package app

import "context"

// RetainOnce looks once for retentions that were changed.
func (a *Analytics) RetainOnce(ctx context.Context) error { return a.retain(ctx) }
