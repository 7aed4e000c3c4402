package ruleset

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pb33f/go-yaml"

	"github.com/tollgate/tollgate/libs/problem"
)

const (
	// maxResults is the largest number of results that are listed.
	maxResults = 1000
	// maxHops is how many references are followed one after the other.
	maxHops = 20
	// maxShown is where a value in a message is cut, in bytes.
	maxShown = 100
)

// Report is what a document does not comply with.
type Report struct {
	// Errors, Warnings, Infos and Hints are numbers of results, those that are not listed included.
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Infos    int `json:"infos"`
	Hints    int `json:"hints"`
	// Results has the first thousand, the gravest first.
	Results []Result `json:"results"`
}

// Result is one place that does not comply with a rule.
type Result struct {
	Rule     string `json:"rule"`
	Severity string `json:"severity" enum:"error,warn,info,hint"`
	Message  string `json:"message"`
	// Path is where it is: a JSON Pointer (RFC 6901).
	Path   string `json:"path"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// Lint checks a document against a ruleset. It takes as long as the ruleset makes it; ctx is looked at between rules.
func Lint(ctx context.Context, rules, document string) (*Report, error) {
	var fields problem.Fields
	all := parse(rules, "ruleset", &fields)
	if err := fields.Err("ruleset-invalid", "The ruleset is not valid."); err != nil {
		return nil, err
	}
	var parsed yaml.Node
	if err := yaml.Unmarshal([]byte(document), &parsed); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	if len(parsed.Content) != 1 {
		return nil, fmt.Errorf("the document is empty")
	}
	l := &linter{root: parsed.Content[0], report: &Report{Results: []Result{}}}
	version := ""
	if node := l.child(l.root, "openapi"); node != nil {
		version = node.Value
	}
	for _, r := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if appliesTo(r.formats, version) {
			l.run(r)
		}
	}
	slices.SortStableFunc(l.report.Results, func(a, b Result) int {
		return cmp.Or(cmp.Compare(slices.Index(Severities(), a.Severity), slices.Index(Severities(), b.Severity)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Rule, b.Rule))
	})
	if len(l.report.Results) > maxResults {
		l.report.Results = l.report.Results[:maxResults]
	}
	return l.report, nil
}

func appliesTo(formats []string, version string) bool {
	return len(formats) == 0 || slices.ContainsFunc(formats, func(f string) bool { return strings.HasPrefix(version, formatPrefixes[f]) })
}

type linter struct {
	root   *yaml.Node
	report *Report
	// places are where nodes are; made once something is reported.
	places map[*yaml.Node]place
	// listed is the number of results kept of each severity: enough of each that sorting and cutting leaves the gravest.
	listed map[string]int
	// refs are the values of every $ref and discriminator mapping; made when first asked for.
	refs map[string]bool
}

type place struct {
	parent *yaml.Node
	key    string
}

// target is a value that an action looks at.
type target struct {
	// node is nil where there is no such value.
	node *yaml.Node
	// at is the nearest node that is there, and below the path from it to the value.
	at    *yaml.Node
	below []string
	// property is the last key on the way.
	property string
}

// fault is what a function finds wrong; node is where, nil for the target itself.
type fault struct {
	message string
	node    *yaml.Node
}

func (l *linter) run(r *rule) {
	seen := map[*yaml.Node]bool{}
	for _, given := range r.given {
		for _, node := range given.Query(l.root) {
			if node == nil || seen[node] {
				continue
			}
			seen[node] = true
			for _, a := range r.then {
				for _, t := range l.targets(node, a.field, r.unresolved) {
					for _, f := range a.check(l, t) {
						l.add(r, t, f)
					}
				}
			}
		}
	}
}

// targets returns what a field of a value is: the value itself for "", its keys for "@key", else what is at a path below it.
func (l *linter) targets(node *yaml.Node, field string, unresolved bool) []target {
	value := node
	if !unresolved {
		value = l.follow(node)
	}
	if field == "" || value == nil || value.Kind != yaml.MappingNode && value.Kind != yaml.SequenceNode {
		return []target{{node: value, at: node}}
	}
	if field == "@key" {
		var all []target
		for i := 0; value.Kind == yaml.MappingNode && i+1 < len(value.Content); i += 2 {
			all = append(all, target{node: value.Content[i], at: value.Content[i], property: value.Content[i].Value})
		}
		return all
	}
	t := target{node: value, at: node}
	for _, key := range strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		t.property = key
		var next *yaml.Node
		if t.node != nil {
			next = l.child(t.node, key)
		}
		if next == nil {
			t.below = append(t.below, key)
			t.node = nil
			continue
		}
		t.node, t.at = next, next
		if !unresolved {
			t.node = l.follow(next)
		}
	}
	return []target{t}
}

// child returns the value of a key, or of an index; nil when there is none.
func (l *linter) child(node *yaml.Node, key string) *yaml.Node {
	switch node.Kind {
	case yaml.AliasNode:
		return l.child(node.Alias, key)
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				return node.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i]
		}
	}
	return nil
}

// follow returns what a reference within the document leads to, and anything else as it is.
func (l *linter) follow(node *yaml.Node) *yaml.Node {
	for range maxHops {
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		ref := l.child(node, "$ref")
		if ref == nil || node.Kind != yaml.MappingNode || !strings.HasPrefix(ref.Value, "#/") {
			return node
		}
		next := l.root
		for part := range strings.SplitSeq(ref.Value[2:], "/") {
			part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
			if next = l.child(next, part); next == nil {
				return node
			}
		}
		node = next
	}
	return node
}

// references returns every reference of the document, and what is above it: a reference into an object refers to the object.
func (l *linter) references() map[string]bool {
	if l.refs == nil {
		l.refs = map[string]bool{}
		l.collect(l.root)
	}
	return l.refs
}

func (l *linter) collect(node *yaml.Node) {
	for _, child := range node.Content {
		if child.Kind == yaml.ScalarNode && strings.HasPrefix(child.Value, "#/") {
			for ref := child.Value; len(ref) > 1 && !l.refs[ref]; ref = ref[:strings.LastIndexByte(ref, '/')] {
				l.refs[ref] = true
			}
		}
		l.collect(child)
	}
}

func (l *linter) add(r *rule, t target, f fault) {
	switch r.severity {
	case Error:
		l.report.Errors++
	case Warn:
		l.report.Warnings++
	case Info:
		l.report.Infos++
	default:
		l.report.Hints++
	}
	if l.listed == nil {
		l.listed = map[string]int{}
	}
	if l.listed[r.severity]++; l.listed[r.severity] > maxResults {
		return
	}
	node, below := t.at, t.below
	if f.node != nil {
		node, below = f.node, nil
	}
	path := l.pointer(node) + pointerOf(below)
	property := t.property
	if property == "" {
		property = unescape(path[strings.LastIndex(path, "/")+1:])
	}
	l.report.Results = append(l.report.Results, Result{
		Rule: r.name, Severity: r.severity, Message: messageOf(r, t, f, path, property), Path: path, Line: node.Line, Column: node.Column,
	})
}

// messageOf fills the placeholders of a message.
func messageOf(r *rule, t target, f fault, path, property string) string {
	template := cmp.Or(r.message, r.description, f.message)
	value := ""
	if t.node != nil && t.node.Kind == yaml.ScalarNode {
		if value = t.node.Value; len(value) > maxShown {
			value = strings.ToValidUTF8(value[:maxShown], "") + "…"
		}
	}
	return strings.NewReplacer("{{error}}", f.message, "{{description}}", r.description, "{{path}}", "#"+path, "{{property}}", property, "{{value}}", value).Replace(template)
}

// pointer returns where a node is.
func (l *linter) pointer(node *yaml.Node) string {
	if l.places == nil {
		l.places = map[*yaml.Node]place{}
		l.index(l.root)
	}
	var keys []string
	for node != l.root {
		at, known := l.places[node]
		if !known {
			break
		}
		keys = append(keys, at.key)
		node = at.parent
	}
	slices.Reverse(keys)
	return pointerOf(keys)
}

func (l *linter) index(node *yaml.Node) {
	for i, child := range node.Content {
		key := strconv.Itoa(i)
		if node.Kind == yaml.MappingNode {
			key = node.Content[i-i%2].Value
		}
		l.places[child] = place{node, key}
		l.index(child)
	}
}

func pointerOf(keys []string) string {
	var b strings.Builder
	for _, key := range keys {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1"))
	}
	return b.String()
}

func unescape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~1", "/"), "~0", "~")
}
