// Package domain decides what may happen to APIs, their versions, products and plans, and what follows: each aggregate has
// commands that return events and an Evolve that applies one. It does no I/O and knows no clock; ids and times are given.
// Only catalog's app and store folders import it.
package domain

import (
	"regexp"
	"strings"
	"time"

	"github.com/tollgate/tollgate/libs/problem"
)

const (
	maxTitle       = 200
	maxDescription = 10_000
)

func checkTitle(path, title string, fields *problem.Fields) {
	switch {
	case strings.TrimSpace(title) == "":
		fields.Add(path, "is empty; give a title for people to read")
	case len(title) > maxTitle:
		fields.Add(path, "is %d bytes long; at most %d are taken", len(title), maxTitle)
	}
}

func checkLength(path, text string, limit int, fields *problem.Fields) {
	if len(text) > limit {
		fields.Add(path, "is %d bytes long; at most %d are taken", len(text), limit)
	}
}

// checkDuration checks an optional duration of more than 0 and at most limit.
func checkDuration(path, text string, limit time.Duration, fields *problem.Fields) {
	if text == "" {
		return
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		fields.Add(path, `%q is not a duration; want one as in "10s"`, text)
	case d <= 0 || d > limit:
		fields.Add(path, "%s is not above 0 and at most %s", text, limit)
	}
}

// checkEach reports values that are not allowed and those that occur twice.
func checkEach(path string, values []string, fields *problem.Fields, check func(value string) (wrong string)) {
	seen := map[string]bool{}
	for i, value := range values {
		at := index(path, i)
		if wrong := check(value); wrong != "" {
			fields.Add(at, "%q %s", value, wrong)
		} else if seen[value] {
			fields.Add(at, "%q is there twice", value)
		}
		seen[value] = true
	}
}

// oneOf is a check for checkEach.
func oneOf(allowed ...string) func(string) string {
	return func(value string) string {
		for _, a := range allowed {
			if value == a {
				return ""
			}
		}
		return "is not known; want " + strings.Join(allowed, ", ")
	}
}

// tokenPattern is a field name or a method (RFC 9110, section 5.6.2).
var tokenPattern = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func token(value string) string {
	if len(value) > 100 || !tokenPattern.MatchString(value) {
		return "is not a token of HTTP (RFC 9110, section 5.6.2), up to 100 characters long"
	}
	return ""
}
