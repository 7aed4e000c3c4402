package domain

import "strings"

// FirstSegment returns the first segment of a route's prefix: empty for "/". Paths belong to tenants by it.
func FirstSegment(prefix string) string {
	segment, _, _ := strings.Cut(strings.TrimPrefix(prefix, "/"), "/")
	return segment
}

// HostsOverlap says whether a host may match two patterns of routes: "*", "*.example.com" or a name each.
func HostsOverlap(a, b string) bool { return covers(a, b) || covers(b, a) }

// covers says whether every host that matches pattern matches wide.
func covers(wide, pattern string) bool {
	switch {
	case wide == "*" || wide == pattern:
		return true
	case strings.HasPrefix(wide, "*."):
		return strings.HasSuffix(pattern, wide[1:])
	}
	return false
}
