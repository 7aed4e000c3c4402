// Package received owns the algebra of "received once": which numbers of a contiguous sequence have come in, whatever the
// order and however often.
//
// A consumer of calls keeps a Set for each boot of a gateway, in the transaction of its effect: everything up to a floor
// has been received, and sparse ranges above it. Merging the numbers of a batch tells which of them are new; a repeat is
// dropped whenever it comes. What lies between the ranges is missing: silence is never mistaken for zero.
//
// Everything is pure and values are never changed in place. Any package may import it.
package received

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Max is the largest sequence number: the largest that a bigint of PostgreSQL holds, less one so that a successor exists.
const Max = math.MaxInt64 - 1

// Range is the sequence numbers from First to Last, both included.
type Range struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// Count returns how many numbers are in the range.
func (r Range) Count() uint64 { return r.Last - r.First + 1 }

// Contains says whether n is in the range.
func (r Range) Contains(n uint64) bool { return r.First <= n && n <= r.Last }

// Set is the numbers received, from 1 up. The zero value is empty.
type Set struct {
	floor uint64
	above []Range // ascending, apart from each other and from the floor; never changed
}

// Load makes a Set from its stored form: the floor, and the ranges above it as first, last, first, last, ….
func Load(floor int64, above []int64) (Set, error) {
	if floor < 0 || len(above)%2 != 0 {
		return Set{}, fmt.Errorf("load received numbers: floor %d with %d bounds", floor, len(above))
	}
	s := Set{floor: uint64(floor)}
	before := floor
	for pair := range slices.Chunk(above, 2) {
		if pair[0] < before+2 || pair[1] < pair[0] {
			return Set{}, fmt.Errorf("load received numbers: range %d to %d follows %d", pair[0], pair[1], before)
		}
		s.above = append(s.above, Range{uint64(pair[0]), uint64(pair[1])})
		before = pair[1]
	}
	return s, nil
}

// Stored is the reverse of Load.
func (s Set) Stored() (floor int64, above []int64) {
	above = make([]int64, 0, 2*len(s.above))
	for _, r := range s.above {
		above = append(above, int64(r.First), int64(r.Last))
	}
	return int64(s.floor), above
}

// Floor returns the number up to which everything has been received.
func (s Set) Floor() uint64 { return s.floor }

// Highest returns the largest number received, 0 for the empty set.
func (s Set) Highest() uint64 {
	if len(s.above) == 0 {
		return s.floor
	}
	return s.above[len(s.above)-1].Last
}

// Count returns how many numbers have been received.
func (s Set) Count() uint64 {
	n := s.floor
	for _, r := range s.above {
		n += r.Count()
	}
	return n
}

// Contains says whether n has been received.
func (s Set) Contains(n uint64) bool {
	if n <= s.floor {
		return n > 0
	}
	i := s.reaching(n)
	return i < len(s.above) && s.above[i].Contains(n)
}

// reaching returns the index of the first range above the floor that reaches n or beyond.
func (s Set) reaching(n uint64) int {
	i, _ := slices.BinarySearchFunc(s.above, n, func(r Range, n uint64) int { return cmp.Compare(r.Last, n) })
	return i
}

// Missing returns the parts of r that have not been received, ascending.
func (s Set) Missing(r Range) []Range {
	var missing []Range
	next := max(r.First, s.floor+1)
	for _, have := range s.above[s.reaching(next):] {
		if have.First > r.Last {
			break
		}
		if have.First > next {
			missing = append(missing, Range{next, have.First - 1})
		}
		next = have.Last + 1
	}
	if next <= r.Last {
		missing = append(missing, Range{next, r.Last})
	}
	return missing
}

// MissingOnly says whether every number of r that has not been received is one of those given, which ascend.
func (s Set) MissingOnly(r Range, given []uint64) bool {
	for _, missing := range s.Missing(r) {
		first, found := slices.BinarySearch(given, missing.First)
		n := missing.Count()
		if !found || n > uint64(len(given)-first) || given[first+int(n)-1] != missing.Last {
			return false
		}
	}
	return true
}

// Holes returns what is missing below the highest number received, ascending.
func (s Set) Holes() []Range {
	if len(s.above) == 0 {
		return nil
	}
	return s.Missing(Range{1, s.Highest()})
}

// Merge adds the numbers of r and returns those that were new, ascending. r must lie within 1 and Max: see Check.
func (s Set) Merge(r Range) (merged Set, fresh []Range) {
	fresh = s.Missing(r)
	if len(fresh) == 0 {
		return s, nil
	}
	all := make([]Range, 0, len(s.above)+1)
	for _, have := range s.above {
		switch {
		case have.Last+1 < r.First || r.Last+1 < have.First:
			all = append(all, have)
		default: // they touch
			r = Range{min(r.First, have.First), max(r.Last, have.Last)}
		}
	}
	at, _ := slices.BinarySearchFunc(all, r.First, func(have Range, first uint64) int {
		if have.First < first {
			return -1
		}
		return 1
	})
	all = slices.Insert(all, at, r)
	floor := s.floor
	for len(all) > 0 && all[0].First <= floor+1 {
		floor = max(floor, all[0].Last)
		all = all[1:]
	}
	return Set{floor: floor, above: all}, fresh
}

// Check says what is wrong with a range of sequence numbers that came from outside.
func (r Range) Check() error {
	if r.First == 0 || r.Last < r.First || r.Last > Max {
		return fmt.Errorf("the sequence numbers %d to %d are not within 1 to %d in ascending order", r.First, r.Last, uint64(Max))
	}
	return nil
}
