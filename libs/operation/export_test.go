package operation

// Bounds, for tests.
const (
	MaxInFlight = maxInFlight
	MaxWaiting  = maxWaiting
)
