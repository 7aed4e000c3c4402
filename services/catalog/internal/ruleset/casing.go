package ruleset

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// casings are the forms of names; D stands for digits.
var casings = map[string]string{
	"flat":   "[a-z][a-zD]*",
	"camel":  "[a-z][a-zD]*(?:[A-ZD](?:[a-zD]+|$))*",
	"pascal": "[A-Z][a-zD]*(?:[A-ZD](?:[a-zD]+|$))*",
	"kebab":  "[a-z][a-zD]*(?:-[a-zD]+)*",
	"cobol":  "[A-Z][A-ZD]*(?:-[A-ZD]+)*",
	"snake":  "[a-z][a-zD]*(?:_[a-zD]+)*",
	"macro":  "[A-Z][A-ZD]*(?:_[A-ZD]+)*",
}

func newCasing(o options) (function, error) {
	c, known := casings[o.Type]
	if !known {
		return nil, fmt.Errorf("type %q is not a casing; want %s", o.Type, strings.Join(slices.Sorted(maps.Keys(casings)), ", "))
	}
	digits := "0-9"
	if o.NoDigits {
		digits = ""
	}
	pattern := c
	if s := o.Separator; s != nil {
		if len([]rune(s.Char)) != 1 {
			return nil, errors.New("separator.char wants one character")
		}
		char := regexp.QuoteMeta(s.Char)
		pattern = fmt.Sprintf("%s(?:%s%s)*", c, char, c)
		if s.AllowLeading {
			pattern = char + "?" + pattern
		}
	}
	compiled, err := regexp.Compile("^(?:" + strings.ReplaceAll(pattern, "D", digits) + ")$")
	if err != nil {
		return nil, err
	}
	return func(_ *linter, t target) []fault {
		if !isString(t.node) || t.node.Value == "" || compiled.MatchString(t.node.Value) {
			return nil
		}
		if s := o.Separator; s != nil && s.AllowLeading && t.node.Value == s.Char {
			return nil
		}
		return faulty("%q must be in %s case", short(t.node.Value), o.Type)
	}, nil
}
