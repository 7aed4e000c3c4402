package domain

import (
	"net/url"
	"time"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// Sunset returns the time at which a version stops being served, and false where its specification has none. A date is its
// beginning in UTC.
func Sunset(spec *catalogv1.APIVersionSpec) (time.Time, bool) {
	at, err := parseSunset(spec.GetSunset())
	return at, err == nil && spec.GetSunset() != ""
}

func parseSunset(text string) (time.Time, error) {
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return at, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	return at.UTC(), err
}

// checkSunset checks when and how a deprecated version ends. An end that was set before may have come meanwhile; a new one may not.
func checkSunset(spec, before *catalogv1.APIVersionSpec, stage string, now time.Time, fields *problem.Fields) {
	ending := stage == Deprecated || stage == Retired
	if text := spec.GetSunset(); text != "" {
		at, err := parseSunset(text)
		switch {
		case err != nil:
			fields.Add("spec.sunset", "%q is neither a date as in 2027-06-30 nor a time as in 2027-06-30T12:00:00Z (RFC 3339)", text)
		case !ending:
			fields.Add("spec.sunset", "is set, but the stage is %s; a version gets its end when it becomes deprecated", stage)
		case text != before.GetSunset() && !at.After(now):
			fields.Add("spec.sunset", "%s is not after now", text)
		}
	}
	link := spec.GetDeprecationLink()
	if link == "" {
		return
	}
	u, err := url.Parse(link)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || len(link) > maxURL || !printable(link):
		fields.Add("spec.deprecationLink", "%q is not an absolute URL as in https://example.com/moving-to-v2", link)
	case u.User != nil:
		fields.Add("spec.deprecationLink", "has credentials in it; every caller is sent the URL")
	case !ending:
		fields.Add("spec.deprecationLink", "is set, but the stage is %s; it belongs to a version that is deprecated", stage)
	}
}

// printable says whether a text can stand in a header field between angle brackets (RFC 8288, section 3).
func printable(text string) bool {
	for _, r := range text {
		if r <= ' ' || r > '~' || r == '<' || r == '>' || r == '"' {
			return false
		}
	}
	return true
}
