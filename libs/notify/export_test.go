package notify

// Bounds, for tests.
const (
	PerTenant   = perTenant
	ClaimFor    = claimFor
	SendTimeout = sendTimeout
)
