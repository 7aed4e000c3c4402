package rating

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// MeterCalls is the meter that counts calls. All others are reported by the upstream.
const MeterCalls = "calls"

// Windows of rate limits and quotas.
var (
	rateWindows  = []string{"second", "minute", "hour"}
	quotaWindows = []string{"hour", "day", "week", "month", "year"}
)

func (c compiler) limits(limits []*catalogv1.Limit) {
	seen := map[string]int{}
	for i, l := range limits {
		path := fmt.Sprintf("limits[%d]", i)
		key := "rate per " + l.GetPer()
		switch {
		case l.GetRate() > 0 && l.GetQuota() > 0:
			c.fields.Add(path, "has both rate and quota; write two limits")
			continue
		case l.GetRate() > 0:
			c.rateLimit(path, l)
		case l.GetQuota() > 0:
			c.quota(path, l)
			key = fmt.Sprintf("quota of %s per %s", meterOf(l), l.GetPer())
		default:
			c.fields.Add(path, "limits nothing; want a rate or a quota of more than 0")
			continue
		}
		if before, taken := seen[key]; taken {
			c.fields.Add(path, "is a second %s; limits[%d] is one already", key, before)
		}
		seen[key] = i
	}
}

func meterOf(l *catalogv1.Limit) string {
	if l.GetMeter() == "" {
		return MeterCalls
	}
	return l.GetMeter()
}

func (c compiler) rateLimit(path string, l *catalogv1.Limit) {
	c.window(path+".per", l.GetPer(), rateWindows)
	for _, f := range []struct {
		name string
		set  bool
	}{{"meter", l.GetMeter() != ""}, {"mode", l.GetMode() != ""}, {"reserve", l.GetReserve() > 0}} {
		if f.set {
			c.fields.Add(path+"."+f.name, "belongs to a quota; a rate limit has rate, per and burst")
		}
	}
}

func (c compiler) quota(path string, l *catalogv1.Limit) {
	c.window(path+".per", l.GetPer(), quotaWindows)
	c.name(path+".meter", meterOf(l))
	c.oneOf(path+".mode", l.GetMode(), "hard", "soft")
	hard, reported := l.GetMode() != "soft", meterOf(l) != MeterCalls
	switch {
	case l.GetBurst() > 0:
		c.fields.Add(path+".burst", "belongs to a rate limit; a quota has quota, meter, per, mode and reserve")
	case hard && reported && l.GetReserve() == 0:
		c.fields.Add(path+".reserve", "is missing; a hard quota on the reported meter %s sets units aside for each call: say the most that one call may report", l.GetMeter())
	case l.GetReserve() > 0 && !(hard && reported):
		c.fields.Add(path+".reserve", "belongs to a hard quota on a reported meter; a call counts as one, and a soft quota refuses none")
	case l.GetReserve() > l.GetQuota():
		c.fields.Add(path+".reserve", "%d is more than the quota %d, so that no call would ever be let through", l.GetReserve(), l.GetQuota())
	}
}

func (c compiler) window(path, value string, wanted []string) {
	switch {
	case value == "":
		c.fields.Add(path, "is missing; want %s", strings.Join(wanted, ", "))
	case !slices.Contains(wanted, value):
		c.fields.Add(path, "%q is not known here; want %s", value, strings.Join(wanted, ", "))
	}
}

var statusPattern = regexp.MustCompile(`^([1-5]xx|[1-5][0-9][0-9])$`)

func (c compiler) charging(rules *catalogv1.Charging) {
	seen := map[string]bool{}
	for i, status := range rules.GetBillable() {
		path := fmt.Sprintf("charging.billable[%d]", i)
		if !statusPattern.MatchString(status) {
			c.fields.Add(path, `%q is no status; want a class such as "2xx" or a code such as "404"`, status)
		} else if seen[status] {
			c.fields.Add(path, "%q is there twice", status)
		}
		seen[status] = true
	}
	c.decimal("charging.cacheHits", rules.GetCacheHits())
}
