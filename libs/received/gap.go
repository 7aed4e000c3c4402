package received

import "time"

// Gap is what is known of sequence numbers that are missing while later ones are here.
type Gap struct {
	// After is a time that the missing calls completed at or later, in nanoseconds: that at which the call before them began.
	// (Numbers are given in the order of time, to a streamed answer when it begins.) 0 when nothing is known.
	After int64
	// BootClosedAt is when the boot was closed, in nanoseconds; 0 while it is open.
	BootClosedAt int64
	// WaivedUntil: an operator has accepted as lost what may have completed before. 0 when nobody has.
	WaivedUntil int64
}

// Slack is how far the clocks of gateways and servers may differ.
const Slack = int64(time.Minute)

// Concerns says whether a missing call may have completed between two instants, the second one not included.
func (g Gap) Concerns(start, end int64) bool {
	if g.WaivedUntil > g.After {
		return false
	}
	return g.After < end && (g.BootClosedAt == 0 || g.BootClosedAt+Slack > start)
}
