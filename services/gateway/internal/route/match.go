package route

import (
	"net/url"
	"strings"
)

// Outcome says how far a request matched.
type Outcome uint8

// The outcomes.
const (
	// NoRoute: no API owns the path.
	NoRoute Outcome = iota
	// NoOperation: API owns the path's prefix, and no template of it matches.
	NoOperation
	// NoMethod: a template of API matches, with other methods: Allow.
	NoMethod
	// Found: API and Operation.
	Found
)

// Match is the outcome of a look-up. Its strings point into the path.
type Match[A, O any] struct {
	Outcome   Outcome
	API       A
	Operation O
	// Allow is the value of the field Allow (RFC 9110, section 10.2.1) of the matched path, when a template matched.
	Allow      string
	parameters [MaxParameters]string
	count      int
}

// Parameters returns the values of the template's parameters, in order, with percent-encodings resolved. The slice belongs to
// the match.
func (m *Match[A, O]) Parameters() []string { return m.parameters[:m.count] }

// ValidPath says whether a path can be matched: it starts with a slash, its percent-encodings are right, and no segment is "."
// or "..", encoded or not (RFC 3986, section 5.2.4): an upstream that resolves them would serve another path than the one that was
// matched.
func ValidPath(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	special := false
	for i := range len(path) {
		switch path[i] {
		case '%':
			if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
				return false
			}
			if path[i+1] == '2' && (path[i+2]|0x20) == 'e' {
				special = true
			}
		case '.':
			special = true
		case '\\':
			return false // some servers take it for a slash
		}
	}
	return !special || !hasDotSegment(path)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || (c|0x20) >= 'a' && (c|0x20) <= 'f'
}

func hasDotSegment(path string) bool {
	for s := range strings.SplitSeq(path[1:], "/") {
		if len(s) > 6 {
			continue
		}
		// A parameter after ";" does not make it another segment for every server.
		s, _, _ = strings.Cut(s, ";")
		switch strings.ReplaceAll(strings.ToLower(s), "%2e", ".") {
		case ".", "..":
			return true
		}
	}
	return false
}

// Find matches a request into m. host is without a port and in lower case; path is as in the request line, without the query.
func (t *Table[A, O]) Find(host, method, path string, m *Match[A, O]) {
	m.Outcome, m.count, m.Allow = NoRoute, 0, ""
	if n := t.hosts[host]; n != nil && n.search(method, path, m) {
		return
	}
	if len(t.wild) > 0 {
		for rest := host; ; {
			i := strings.IndexByte(rest, '.')
			if i < 0 {
				break
			}
			if n := t.wild[rest[i:]]; n != nil && n.search(method, path, m) {
				return
			}
			rest = rest[i+1:]
		}
	}
	if t.any != nil {
		t.any.search(method, path, m)
	}
}

// search reports whether the operation was found; m keeps the best outcome so far.
func (n *node[A, O]) search(method, path string, m *Match[A, O]) bool {
	s := search[A, O]{method: method, match: m}
	return s.walk(n, path[1:], 0, true)
}

type search[A, O any] struct {
	method string
	match  *Match[A, O]
}

// walk matches the rest of the path from n on. more is false when the path has ended.
func (s *search[A, O]) walk(n *node[A, O], rest string, count int, more bool) bool {
	if n.prefix != nil && s.match.Outcome <= NoOperation {
		s.match.Outcome, s.match.API = NoOperation, *n.prefix
	}
	if !more {
		return s.end(n, count)
	}
	segment, after, next := strings.Cut(rest, "/")
	literal := segment
	if strings.IndexByte(segment, '%') >= 0 {
		literal = decode(segment)
	}
	if c := n.literal[literal]; c != nil && s.walk(c, after, count, next) {
		return true
	}
	if segment == "" {
		return false
	}
	for _, c := range n.mixed {
		if n := c.match(literal, s.match.parameters[count:]); n > 0 && s.walk(c.next, after, count+n, next) {
			return true
		}
	}
	if n.param == nil || count == MaxParameters {
		return false
	}
	s.match.parameters[count] = literal
	return s.walk(n.param, after, count+1, next)
}

// match takes the segment's parameters into values and returns their number; 0 when the segment does not match. A parameter has one
// byte at least, and ends where the literal after it occurs first.
func (c *mixed[A, O]) match(segment string, values []string) int {
	last := len(c.literals) - 1
	rest, ok := strings.CutPrefix(segment, c.literals[0])
	if !ok || last > len(values) {
		return 0
	}
	for i := 1; i < last; i++ {
		if rest == "" {
			return 0
		}
		at := strings.Index(rest[1:], c.literals[i]) + 1
		if at == 0 {
			return 0
		}
		values[i-1], rest = rest[:at], rest[at+len(c.literals[i]):]
	}
	rest, ok = strings.CutSuffix(rest, c.literals[last])
	if !ok || rest == "" {
		return 0
	}
	values[last-1] = rest
	return last
}

func (s *search[A, O]) end(n *node[A, O], count int) bool {
	if n.leaf == nil {
		return false
	}
	e := n.leaf.find(s.method)
	if e == nil && s.method == "HEAD" {
		e = n.leaf.find("GET")
	}
	if e == nil {
		if s.match.Outcome < NoMethod {
			s.match.Outcome, s.match.API, s.match.Allow, s.match.Operation = NoMethod, n.leaf.methods[0].api, n.leaf.allow, n.leaf.methods[0].op
		}
		return false
	}
	s.match.Outcome, s.match.API, s.match.Operation, s.match.Allow, s.match.count = Found, e.api, e.op, n.leaf.allow, count
	return true
}

// decode resolves percent-encodings. The path was checked by ValidPath.
func decode(segment string) string {
	decoded, err := url.PathUnescape(segment)
	if err != nil {
		return segment
	}
	return decoded
}

// Skip returns the path after its first n segments, as it is in the request line: "/" when nothing is left.
func Skip(path string, n int) string {
	for range n {
		i := strings.IndexByte(path[1:], '/')
		if i < 0 {
			return "/"
		}
		path = path[i+1:]
	}
	return path
}
