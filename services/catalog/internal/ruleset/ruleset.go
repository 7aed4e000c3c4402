// Package ruleset checks OpenAPI documents against rulesets in the format of Spectral
// (https://docs.stoplight.io/docs/spectral/e5b9616d6d50c-rulesets).
//
// Known are: rules with given, then, severity, message, recommended, resolved and formats; changes of severity; aliases; and extends
// of spectral:oas, of which the rules in oas.yaml are there. Not known, and refused with an error that says so: functions of one's
// own (JavaScript), overrides, and rulesets at other addresses. References are followed at the value that a rule looks at, not on the
// way to it: rules that look into components find what is there. Only catalog imports this package, and lints in a child
// process alone (see inspect): a rule can take any time.
package ruleset

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pb33f/go-yaml"
	"github.com/pb33f/jsonpath/pkg/jsonpath"
	"github.com/pb33f/jsonpath/pkg/jsonpath/config"

	"github.com/tollgate/tollgate/libs/problem"
)

const (
	// MaxBytes is the size of the largest ruleset.
	MaxBytes = 256 << 10
	maxRules = 500
	maxGiven = 50
	// maxExpanded bounds the JSON paths of all rules together, once aliases are put in their places: the sum of their lengths and of
	// pathCost for each. It is far more than rulesets have, and takes a second or two at most.
	maxExpanded = 512 << 10
	pathCost    = 64
	// maxErrors is how many errors there are before aliases are not gone into any more.
	maxErrors = 100
)

// oas is the ruleset spectral:oas, as far as it is there.
//
//go:embed oas.yaml
var oas string

// Default is the ruleset that documents are checked against where a tenant has none of its own.
const Default = "extends: spectral:oas\n"

// The severities, from the gravest.
const (
	Error = "error"
	Warn  = "warn"
	Info  = "info"
	Hint  = "hint"
	off   = "off"
)

// Severities returns the severities, the gravest first.
func Severities() []string { return []string{Error, Warn, Info, Hint} }

// rule is one rule, ready to run.
type rule struct {
	name, description, message, severity string
	given                                []*jsonpath.JSONPath
	then                                 []action
	unresolved                           bool
	// optional: not recommended, and on only where it is asked for.
	optional bool
	formats  []string
}

// action is one "then".
type action struct {
	field string
	check function
}

// Check says what is wrong with a ruleset; the error is of kind Invalid, with paths below path.
func Check(text, path string) error {
	var fields problem.Fields
	parse(text, path, &fields)
	return fields.Err("ruleset-invalid", "The ruleset is not valid.")
}

type parser struct {
	path    string
	fields  *problem.Fields
	aliases map[string][]string
	rules   map[string]*rule
	// base has the rules of what is extended, those that are off too.
	base map[string]*rule
	// open are the aliases that are being put in their places, one within the other.
	open []string
	// expanded is what JSON paths amount to so far.
	expanded int
}

// parse returns the rules that are on, in order of their names.
func parse(text, path string, fields *problem.Fields) []*rule {
	p := parser{path: path, fields: fields, aliases: map[string][]string{}, rules: map[string]*rule{}}
	p.read(text)
	var on []*rule
	for _, name := range slices.Sorted(maps.Keys(p.rules)) {
		if r := p.rules[name]; r.severity != off && !r.optional {
			on = append(on, r)
		}
	}
	if len(on) == 0 && len(*fields) == 0 {
		fields.Add(path, "has no rule that is on; write rules, or extend spectral:oas")
	}
	return on
}

func (p *parser) read(text string) {
	if len(text) > MaxBytes {
		p.fields.Add(p.path, "is %d bytes long; at most %d are taken", len(text), MaxBytes)
		return
	}
	var s source
	if !p.decode([]byte(text), &s) {
		return
	}
	p.unsupported(s)
	p.extend(&s.Extends)
	p.readAliases(s.Aliases)
	if len(s.Rules) > maxRules {
		p.fields.Add(p.path+".rules", "has %d rules; at most %d are taken", len(s.Rules), maxRules)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.Rules)) {
		node := s.Rules[name]
		p.rule(name, &node)
	}
}

func (p *parser) decode(text []byte, into *source) bool {
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		p.fields.Add(p.path, "is no ruleset in YAML or JSON: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return false
	}
	return true
}

func (p *parser) unsupported(s source) {
	for _, u := range []struct {
		name string
		node yaml.Node
		why  string
	}{
		{"functions", s.Functions, "functions of one's own are programs and are not run; use the functions that Spectral has"},
		{"functionsDir", s.FunctionsDir, "functions of one's own are programs and are not run; use the functions that Spectral has"},
		{"overrides", s.Overrides, "is not supported; set the severity of the rule itself"},
		{"except", s.Except, "is not supported; set the severity of the rule itself"},
		{"parserOptions", s.ParserOptions, "is not supported; documents are parsed before they are checked"},
	} {
		if u.node.Kind != 0 {
			p.fields.Add(p.path+"."+u.name, "%s", u.why)
		}
	}
	p.checkFormats(p.path+".formats", s.Formats)
}

func (p *parser) checkFormats(path string, formats []string) {
	for _, f := range formats {
		if _, known := formatPrefixes[f]; !known {
			p.fields.Add(path, "%q is not a format; want %s", f, strings.Join(slices.Sorted(maps.Keys(formatPrefixes)), ", "))
		}
	}
}

// formatPrefixes are the beginnings of the versions that a format stands for.
var formatPrefixes = map[string]string{"oas3": "3.", "oas3.0": "3.0", "oas3_0": "3.0", "oas3.1": "3.1", "oas3_1": "3.1", "oas2": "2."}

// extend takes in the rules of what a ruleset extends.
func (p *parser) extend(node *yaml.Node) {
	switch node.Kind {
	case 0:
	case yaml.ScalarNode:
		p.extendOne(node.Value, "recommended")
	case yaml.SequenceNode:
		for _, e := range node.Content {
			switch {
			case e.Kind == yaml.ScalarNode:
				p.extendOne(e.Value, "recommended")
			case e.Kind == yaml.SequenceNode && len(e.Content) == 2:
				p.extendOne(e.Content[0].Value, e.Content[1].Value)
			default:
				p.fields.Add(p.path+".extends", `wants names, or pairs as in ["spectral:oas", "all"]`)
			}
		}
	default:
		p.fields.Add(p.path+".extends", `wants a name or a list, as in ["spectral:oas"]`)
	}
}

func (p *parser) extendOne(name, which string) {
	if name != "spectral:oas" {
		p.fields.Add(p.path+".extends", "%q is not a ruleset that can be extended; there is spectral:oas, and other rules are written out", name)
		return
	}
	if which != "recommended" && which != "all" && which != off {
		p.fields.Add(p.path+".extends", "%q is not recommended, all or off", which)
		return
	}
	if p.base != nil {
		p.fields.Add(p.path+".extends", "has spectral:oas twice")
		return
	}
	base := parser{fields: &problem.Fields{}, aliases: map[string][]string{}, rules: map[string]*rule{}}
	base.read(oas)
	p.base = base.rules
	for name, r := range p.base {
		used := *r
		switch which {
		case "all":
			used.optional = false
		case off:
			used.severity = off
		}
		p.rules[name] = &used
	}
}

func (p *parser) readAliases(aliases map[string]yaml.Node) {
	for _, name := range slices.Sorted(maps.Keys(aliases)) {
		node := aliases[name]
		var paths []string
		if err := node.Decode(&paths); err != nil || len(paths) == 0 {
			p.fields.Add(p.path+".aliases."+name, `wants a list of JSON paths, as in ["$.paths"]; aliases with targets are not supported`)
			continue
		}
		p.aliases[name] = paths
	}
}

// compile returns the paths of a "given", with aliases put in their places.
func (p *parser) compile(path, given string) []*jsonpath.JSONPath {
	if p.expanded > maxExpanded {
		return nil
	}
	if p.expanded += len(given) + pathCost; p.expanded > maxExpanded {
		p.fields.Add(path, "makes the JSON paths of the ruleset too many or too long, once aliases are put in their places; name fewer paths in aliases of aliases")
		return nil
	}
	if alias, isAlias := strings.CutPrefix(given, "#"); isAlias {
		return p.compileAlias(path, alias)
	}
	compiled, err := jsonpath.NewPath(given, config.WithSpectralCompatibility(), config.WithLazyContextTracking())
	if err != nil {
		p.fields.Add(path, "%q is not a JSON path: %s", given, firstLine(err))
		return nil
	}
	return []*jsonpath.JSONPath{compiled}
}

// compileAlias returns the paths of an alias with what follows it, without the "#".
func (p *parser) compileAlias(path, alias string) []*jsonpath.JSONPath {
	rest := ""
	if end := strings.IndexAny(alias, ".[^~"); end >= 0 {
		alias, rest = alias[:end], alias[end:]
	}
	paths, known := p.aliases[alias]
	switch {
	case !known:
		p.fields.Add(path, "there is no alias %q", alias)
		return nil
	case slices.Contains(p.open, alias):
		p.fields.Add(path, "the alias %q leads to itself", alias)
		return nil
	}
	p.open = append(p.open, alias)
	defer func() { p.open = p.open[:len(p.open)-1] }()
	var all []*jsonpath.JSONPath
	for _, target := range paths {
		if p.expanded > maxExpanded || len(*p.fields) > maxErrors {
			break
		}
		all = append(all, p.compile(path, target+rest)...)
	}
	return all
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return line
}

// severityOf reads a severity: a name, or a number from 0 (error) to 3 (hint).
func severityOf(node *yaml.Node) (string, bool) {
	switch node.Value {
	case "error", "0":
		return Error, true
	case "warn", "1":
		return Warn, true
	case "info", "2":
		return Info, true
	case "hint", "3":
		return Hint, true
	case off, "false", "-1":
		return off, true
	}
	return "", false
}

// rule reads one entry of rules.
func (p *parser) rule(name string, node *yaml.Node) {
	path := p.path + ".rules." + name
	if node.Kind == yaml.ScalarNode {
		p.override(name, path, node)
		return
	}
	var s ruleSource
	raw, err := yaml.Marshal(node)
	if err == nil {
		decoder := yaml.NewDecoder(strings.NewReader(string(raw)))
		decoder.KnownFields(true)
		err = decoder.Decode(&s)
	}
	if err != nil {
		p.fields.Add(path, "is not a rule: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	r := &rule{name: name, description: s.Description, message: s.Message, severity: Warn, formats: s.Formats, unresolved: s.Resolved != nil && !*s.Resolved}
	p.checkFormats(path+".formats", s.Formats)
	if s.Severity.Kind != 0 {
		severity, ok := severityOf(&s.Severity)
		if !ok {
			p.fields.Add(path+".severity", "%q is not a severity; want error, warn, info, hint or off", s.Severity.Value)
		}
		r.severity = severity
	}
	r.optional = s.Recommended != nil && !*s.Recommended
	if s.Enabled != nil && !*s.Enabled {
		r.severity = off
	}
	r.given = p.given(path+".given", &s.Given)
	r.then = p.thens(path+".then", &s.Then)
	p.rules[name] = r
}

// override changes the severity of a rule of what is extended.
func (p *parser) override(name, path string, node *yaml.Node) {
	base, known := p.base[name]
	severity, ok := severityOf(node)
	switch {
	case known && node.Value == "true":
		used := *base
		used.optional = false
		p.rules[name] = &used
	case !ok:
		p.fields.Add(path, "%q is not a severity; want error, warn, info, hint or off", node.Value)
	case !known && severity == off: // off it is, whether it is there or not
	case !known:
		p.fields.Add(path, "there is no rule %q in what the ruleset extends; it has %s", name, list(p.base))
	default:
		used := *base
		used.severity, used.optional = severity, false
		p.rules[name] = &used
	}
}

func list(rules map[string]*rule) string {
	if len(rules) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(rules)), ", ")
}

func (p *parser) given(path string, node *yaml.Node) []*jsonpath.JSONPath {
	var all []string
	switch node.Kind {
	case yaml.ScalarNode:
		all = []string{node.Value}
	case yaml.SequenceNode:
		if err := node.Decode(&all); err != nil {
			p.fields.Add(path, "wants JSON paths: %s", err)
		}
	}
	if len(all) == 0 || len(all) > maxGiven {
		p.fields.Add(path, `wants 1 to %d JSON paths, as in "$.paths[*][*]"`, maxGiven)
		return nil
	}
	var compiled []*jsonpath.JSONPath
	for _, g := range all {
		compiled = append(compiled, p.compile(path, g)...)
	}
	return compiled
}

func (p *parser) thens(path string, node *yaml.Node) []action {
	nodes := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		nodes = node.Content
	}
	var all []action
	for i, n := range nodes {
		at := path
		if node.Kind == yaml.SequenceNode {
			at = fmt.Sprintf("%s[%d]", path, i)
		}
		var s thenSource
		if n.Kind != yaml.MappingNode || n.Decode(&s) != nil || s.Function == "" {
			p.fields.Add(at, "wants a function, as in {field: description, function: truthy}")
			continue
		}
		check, err := newFunction(s.Function, &s.FunctionOptions)
		if err != nil {
			p.fields.Add(at, "%s", err)
			continue
		}
		all = append(all, action{field: s.Field, check: check})
	}
	return all
}
