// Package route owns the way from host, path and method to an operation.
//
// A Table is built once and then only read, by any number of goroutines. Its cost depends on the number of segments in the path, not
// on the number of routes: each host has a tree of path segments, in which literal segments come before segments with a
// literal part, and those before whole parameters (OpenAPI 3.1, section 4.8.8.2). Only the gateway's own packages import it.
package route

import (
	"fmt"
	"slices"
	"strings"
)

// MaxParameters is the number of parameters that one template can have.
const MaxParameters = 16

// Table maps requests to operations O of APIs A.
type Table[A, O any] struct {
	hosts map[string]*node[A, O] // "api.example.com"
	wild  map[string]*node[A, O] // ".example.com"
	any   *node[A, O]
}

type node[A, O any] struct {
	literal map[string]*node[A, O]
	mixed   []*mixed[A, O] // most literal bytes first
	param   *node[A, O]
	prefix  *A // the API whose prefix ends here
	leaf    *leaf[A, O]
}

// mixed is a segment such as "{id}.json" or "{base}...{head}".
type mixed[A, O any] struct {
	text     string   // with the parameters' names taken out
	literals []string // one more than parameters
	next     *node[A, O]
}

type leaf[A, O any] struct {
	methods []endpoint[A, O]
	allow   string
}

type endpoint[A, O any] struct {
	method string
	api    A
	op     O
}

// New returns an empty table.
func New[A, O any]() *Table[A, O] {
	return &Table[A, O]{hosts: map[string]*node[A, O]{}, wild: map[string]*node[A, O]{}}
}

// ValidateHost reports what is wrong with a host pattern: "*", "*.example.com" or a name.
func ValidateHost(pattern string) error {
	name := strings.TrimPrefix(pattern, "*.")
	switch {
	case pattern == "*":
		return nil
	case name == "" || strings.ContainsAny(name, "*/: ") || strings.HasPrefix(name, ".") || strings.HasSuffix(name, "."):
		return fmt.Errorf(`host %q is not a name, "*" or "*." before a name, without a port`, pattern)
	}
	return nil
}

// SplitTemplate returns the segments of a path template and the names of its parameters, in order.
func SplitTemplate(template string) (segments, parameters []string, err error) {
	if !strings.HasPrefix(template, "/") {
		return nil, nil, fmt.Errorf("path template %q does not start with /", template)
	}
	segments = strings.Split(template[1:], "/")
	for _, s := range segments {
		_, names, ok := splitSegment(s)
		if !ok {
			return nil, nil, fmt.Errorf("path template %q: segment %q has unequal braces, or parameters with nothing in between", template, s)
		}
		for _, name := range names {
			if name == "" || slices.Contains(parameters, name) {
				return nil, nil, fmt.Errorf("path template %q: parameter %q is empty or occurs twice", template, name)
			}
			parameters = append(parameters, name)
		}
	}
	if len(parameters) > MaxParameters {
		return nil, nil, fmt.Errorf("path template %q has more than %d parameters", template, MaxParameters)
	}
	return segments, parameters, nil
}

// splitSegment returns the literals of a segment, one more than its parameters, and the parameters' names. It is not ok when
// braces do not match, or when nothing tells where a parameter ends and the next begins.
func splitSegment(segment string) (literals, names []string, ok bool) {
	for {
		before, rest, open := strings.Cut(segment, "{")
		if strings.Contains(before, "}") || before == "" && len(names) > 0 && open {
			return nil, nil, false
		}
		literals = append(literals, before)
		if !open {
			return literals, names, true
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || strings.Contains(name, "{") {
			return nil, nil, false
		}
		names = append(names, name)
		segment = after
	}
}

func (t *Table[A, O]) tree(host string) *node[A, O] {
	host = strings.ToLower(host)
	switch {
	case host == "*":
		if t.any == nil {
			t.any = &node[A, O]{}
		}
		return t.any
	case strings.HasPrefix(host, "*."):
		return child(t.wild, host[1:])
	default:
		return child(t.hosts, host)
	}
}

func child[A, O any](children map[string]*node[A, O], key string) *node[A, O] {
	n := children[key]
	if n == nil {
		n = &node[A, O]{}
		children[key] = n
	}
	return n
}

// AddPrefix says that an API owns the paths below prefix on host.
func (t *Table[A, O]) AddPrefix(host, prefix string, api A) {
	n := t.tree(host)
	for _, s := range Segments(prefix) {
		n = n.step(s)
	}
	if n.prefix == nil {
		n.prefix = &api
	}
}

// Segments returns the segments of a prefix; "/" has none.
func Segments(prefix string) []string {
	prefix = strings.Trim(prefix, "/")
	if prefix == "" {
		return nil
	}
	return strings.Split(prefix, "/")
}

// Add adds an operation below prefix on host. It returns the API that has the same method and template already, if there is
// one; then nothing is added.
func (t *Table[A, O]) Add(host, prefix, method, template string, api A, op O) (taken *A) {
	n := t.tree(host)
	for _, s := range Segments(prefix) {
		n = n.step(s)
	}
	segments := strings.Split(strings.TrimPrefix(template, "/"), "/")
	if len(segments) == 1 && segments[0] == "" {
		// The template "/" is the prefix itself, with or without the slash.
		if taken := n.add(method, api, op); taken != nil {
			return taken
		}
	}
	for _, s := range segments {
		n = n.step(s)
	}
	return n.add(method, api, op)
}

func (n *node[A, O]) step(segment string) *node[A, O] {
	open := strings.Index(segment, "{")
	if open < 0 {
		if n.literal == nil {
			n.literal = map[string]*node[A, O]{}
		}
		return child(n.literal, segment)
	}
	literals, _, _ := splitSegment(segment) // which SplitTemplate has checked
	text := strings.Join(literals, "{}")
	if text == "{}" {
		if n.param == nil {
			n.param = &node[A, O]{}
		}
		return n.param
	}
	for _, m := range n.mixed {
		if m.text == text {
			return m.next
		}
	}
	m := &mixed[A, O]{text: text, literals: literals, next: &node[A, O]{}}
	n.mixed = append(n.mixed, m)
	slices.SortStableFunc(n.mixed, func(a, b *mixed[A, O]) int { return len(b.text) - len(a.text) })
	return m.next
}

func (n *node[A, O]) add(method string, api A, op O) *A {
	if n.leaf == nil {
		n.leaf = &leaf[A, O]{}
	}
	for i := range n.leaf.methods {
		if n.leaf.methods[i].method == method {
			return &n.leaf.methods[i].api
		}
	}
	n.leaf.methods = append(n.leaf.methods, endpoint[A, O]{method, api, op})
	var names []string
	for _, e := range n.leaf.methods {
		names = append(names, e.method)
		if e.method == "GET" && n.leaf.find("HEAD") == nil {
			names = append(names, "HEAD")
		}
	}
	slices.Sort(names)
	n.leaf.allow = strings.Join(names, ", ")
	return nil
}

func (l *leaf[A, O]) find(method string) *endpoint[A, O] {
	for i := range l.methods {
		if l.methods[i].method == method {
			return &l.methods[i]
		}
	}
	return nil
}
