package ruleset

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pb33f/go-yaml"
)

// function looks at a value and returns what is wrong with it.
type function func(l *linter, t target) []fault

// options are the functionOptions of all functions together.
type options struct {
	Match      string   `yaml:"match"`
	NotMatch   string   `yaml:"notMatch"`
	Min        *float64 `yaml:"min"`
	Max        *float64 `yaml:"max"`
	Values     []any    `yaml:"values"`
	Properties []string `yaml:"properties"`
	KeyedBy    string   `yaml:"keyedBy"`
	Schema     any      `yaml:"schema"`
	AllErrors  bool     `yaml:"allErrors"`
	Dialect    string   `yaml:"dialect"`
	Type       string   `yaml:"type"`
	NoDigits   bool     `yaml:"disallowDigits"`
	Location   string   `yaml:"reusableObjectsLocation"`
	Separator  *struct {
		Char         string `yaml:"char"`
		AllowLeading bool   `yaml:"allowLeading"`
	} `yaml:"separator"`
}

// builders make functions of their options.
var builders = map[string]func(options) (function, error){
	"truthy":                     func(options) (function, error) { return truthy, nil },
	"falsy":                      func(options) (function, error) { return falsy, nil },
	"defined":                    func(options) (function, error) { return defined, nil },
	"undefined":                  func(options) (function, error) { return undefined, nil },
	"pattern":                    newPattern,
	"length":                     newLength,
	"casing":                     newCasing,
	"enumeration":                newEnumeration,
	"schema":                     newSchema,
	"alphabetical":               newAlphabetical,
	"xor":                        newXor,
	"or":                         newOr,
	"typedEnum":                  func(options) (function, error) { return typedEnum, nil },
	"unreferencedReusableObject": newUnreferenced,
}

func newFunction(name string, node *yaml.Node) (function, error) {
	build, known := builders[name]
	if !known {
		return nil, fmt.Errorf("there is no function %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(builders)), ", "))
	}
	var o options
	if node.Kind != 0 {
		raw, err := yaml.Marshal(node)
		if err == nil {
			decoder := yaml.NewDecoder(strings.NewReader(string(raw)))
			decoder.KnownFields(true)
			err = decoder.Decode(&o)
		}
		if err != nil {
			return nil, fmt.Errorf("the functionOptions of %s are not right: %w", name, err)
		}
	}
	f, err := build(o)
	if err != nil {
		return nil, fmt.Errorf("the functionOptions of %s are not right: %w", name, err)
	}
	return f, nil
}

func faulty(format string, args ...any) []fault {
	return []fault{{message: fmt.Sprintf(format, args...)}}
}

// isTruthy is JavaScript's notion.
func isTruthy(n *yaml.Node) bool {
	if n == nil {
		return false
	}
	if n.Kind != yaml.ScalarNode {
		return true
	}
	switch n.Tag {
	case "!!null":
		return false
	case "!!bool":
		return n.Value == "true"
	case "!!int", "!!float":
		v, err := strconv.ParseFloat(n.Value, 64)
		return err != nil || v != 0
	}
	return n.Value != ""
}

func truthy(_ *linter, t target) []fault {
	if isTruthy(t.node) {
		return nil
	}
	return faulty("%s must be truthy", subject(t))
}

func falsy(_ *linter, t target) []fault {
	if !isTruthy(t.node) {
		return nil
	}
	return faulty("%s must be falsy", subject(t))
}

func defined(_ *linter, t target) []fault {
	if t.node != nil {
		return nil
	}
	return faulty("%s must be defined", subject(t))
}

func undefined(_ *linter, t target) []fault {
	if t.node == nil {
		return nil
	}
	return faulty("%s must be undefined", subject(t))
}

func subject(t target) string {
	if t.property == "" {
		return "the value"
	}
	return strconv.Quote(t.property) + " property"
}

func isString(n *yaml.Node) bool { return n != nil && n.Kind == yaml.ScalarNode && n.Tag == "!!str" }

// compileRegexp compiles an expression of JavaScript, which may be written between slashes with flags.
func compileRegexp(text string) (*regexp.Regexp, error) {
	if strings.HasPrefix(text, "/") {
		if end := strings.LastIndexByte(text, '/'); end > 0 {
			flags := ""
			for _, f := range text[end+1:] {
				switch f {
				case 'i', 'm', 's':
					flags += string(f)
				case 'u', 'g':
				default:
					return nil, fmt.Errorf("the flag %q of %s is not supported", f, text)
				}
			}
			text = text[1:end]
			if flags != "" {
				text = "(?" + flags + ")" + text
			}
		}
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%w (look-ahead, look-behind and back-references are not supported: RE2 is used, which takes no exponential time)", err)
	}
	return compiled, nil
}

func newPattern(o options) (function, error) {
	if o.Match == "" && o.NotMatch == "" {
		return nil, errors.New("want match or notMatch")
	}
	var match, not *regexp.Regexp
	var err error
	if o.Match != "" {
		if match, err = compileRegexp(o.Match); err != nil {
			return nil, err
		}
	}
	if o.NotMatch != "" {
		if not, err = compileRegexp(o.NotMatch); err != nil {
			return nil, err
		}
	}
	return func(_ *linter, t target) []fault {
		if !isString(t.node) {
			return nil
		}
		var all []fault
		if match != nil && !match.MatchString(t.node.Value) {
			all = append(all, faulty("%q must match the pattern %q", short(t.node.Value), o.Match)...)
		}
		if not != nil && not.MatchString(t.node.Value) {
			all = append(all, faulty("%q must not match the pattern %q", short(t.node.Value), o.NotMatch)...)
		}
		return all
	}, nil
}

func short(text string) string {
	if len(text) > maxShown {
		return strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}

func newLength(o options) (function, error) {
	if o.Min == nil && o.Max == nil {
		return nil, errors.New("want min or max")
	}
	return func(_ *linter, t target) []fault {
		n, ok := lengthOf(t.node)
		switch {
		case !ok:
			return nil
		case o.Min != nil && n < *o.Min:
			return faulty("%s must be longer than %v", subject(t), *o.Min)
		case o.Max != nil && n > *o.Max:
			return faulty("%s must be shorter than %v", subject(t), *o.Max)
		}
		return nil
	}, nil
}

// lengthOf returns the length of a string or list, the number of keys of an object, or a number itself.
func lengthOf(n *yaml.Node) (float64, bool) {
	switch {
	case n == nil:
		return 0, false
	case n.Kind == yaml.MappingNode:
		return float64(len(n.Content) / 2), true
	case n.Kind == yaml.SequenceNode:
		return float64(len(n.Content)), true
	case n.Tag == "!!int" || n.Tag == "!!float":
		v, err := strconv.ParseFloat(n.Value, 64)
		return v, err == nil
	case isString(n):
		return float64(len([]rune(n.Value))), true
	}
	return 0, false
}

func newEnumeration(o options) (function, error) {
	if len(o.Values) == 0 {
		return nil, errors.New("want values")
	}
	allowed := make([]string, len(o.Values))
	for i, v := range o.Values {
		allowed[i] = fmt.Sprint(v)
	}
	return func(_ *linter, t target) []fault {
		if t.node == nil || t.node.Kind != yaml.ScalarNode || slices.Contains(allowed, t.node.Value) {
			return nil
		}
		return faulty("%q must be one of %s", short(t.node.Value), strings.Join(allowed, ", "))
	}, nil
}

func newXor(o options) (function, error) {
	if len(o.Properties) < 2 {
		return nil, errors.New("want two properties or more")
	}
	return func(l *linter, t target) []fault {
		if t.node == nil || t.node.Kind != yaml.MappingNode || count(l, t.node, o.Properties) == 1 {
			return nil
		}
		return faulty("exactly one of %s must be defined", strings.Join(o.Properties, ", "))
	}, nil
}

func newOr(o options) (function, error) {
	if len(o.Properties) == 0 {
		return nil, errors.New("want properties")
	}
	return func(l *linter, t target) []fault {
		if t.node == nil || t.node.Kind != yaml.MappingNode || count(l, t.node, o.Properties) > 0 {
			return nil
		}
		return faulty("at least one of %s must be defined", strings.Join(o.Properties, ", "))
	}, nil
}

func count(l *linter, node *yaml.Node, properties []string) (n int) {
	for _, p := range properties {
		if l.child(node, p) != nil {
			n++
		}
	}
	return n
}

func newAlphabetical(o options) (function, error) {
	return func(l *linter, t target) []fault {
		if t.node == nil {
			return nil
		}
		var before *yaml.Node
		step := 1
		if t.node.Kind == yaml.MappingNode {
			step = 2
		}
		for i := 0; i < len(t.node.Content); i += step {
			now := t.node.Content[i]
			if o.KeyedBy != "" && step == 1 {
				if now = l.child(now, o.KeyedBy); now == nil {
					continue
				}
			}
			if before != nil && before.Value > now.Value {
				return []fault{{message: fmt.Sprintf("%q must come before %q: the order is to be alphabetical", short(now.Value), short(before.Value)), node: now}}
			}
			before = now
		}
		return nil
	}, nil
}

// typedEnum finds values of an enum that are not of the type beside it.
func typedEnum(l *linter, t target) []fault {
	if t.node == nil || t.node.Kind != yaml.MappingNode {
		return nil
	}
	kind, values := l.child(t.node, "type"), l.child(t.node, "enum")
	if kind == nil || kind.Kind != yaml.ScalarNode || values == nil || values.Kind != yaml.SequenceNode {
		return nil
	}
	nullable := isTruthy(l.child(t.node, "nullable"))
	var all []fault
	for _, v := range values.Content {
		if !isOfType(v, kind.Value) && (v.Tag != "!!null" || !nullable) {
			all = append(all, fault{message: fmt.Sprintf("the enum value %q must be of type %s", short(v.Value), kind.Value), node: v})
		}
	}
	return all
}

func isOfType(n *yaml.Node, kind string) bool {
	switch kind {
	case "string":
		return n.Kind == yaml.ScalarNode && (n.Tag == "!!str" || n.Tag == "!!timestamp")
	case "integer":
		return n.Tag == "!!int"
	case "number":
		return n.Tag == "!!int" || n.Tag == "!!float"
	case "boolean":
		return n.Tag == "!!bool"
	case "null":
		return n.Tag == "!!null"
	case "array":
		return n.Kind == yaml.SequenceNode
	case "object":
		return n.Kind == yaml.MappingNode
	}
	return true
}

func newUnreferenced(o options) (function, error) {
	if !strings.HasPrefix(o.Location, "#/") {
		return nil, errors.New(`want reusableObjectsLocation, as in "#/components/schemas"`)
	}
	return func(l *linter, t target) []fault {
		if t.node == nil || t.node.Kind != yaml.MappingNode {
			return nil
		}
		used := l.references()
		var all []fault
		for i := 0; i+1 < len(t.node.Content); i += 2 {
			key := t.node.Content[i]
			at := o.Location + pointerOf([]string{key.Value})
			if !used[at] {
				all = append(all, fault{message: fmt.Sprintf("nothing refers to %s", at), node: key})
			}
		}
		return all
	}, nil
}
