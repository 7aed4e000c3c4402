package period

import "time"

// Drain is how long after the end of a subscription its last billing period goes on, for the calls that were under way then.
// metering divides usage at that instant and billing ends the period there, so the two must have the same. What completes
// later still is a late record.
const Drain = 5 * time.Second
