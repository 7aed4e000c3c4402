package rating

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// MeterCalls is the meter that counts calls. All others are reported by the upstream.
const MeterCalls = "calls"

// What a gateway holds for one subscription. Every window takes one rate limit, so that those are three at most.
const (
	// MaxHardQuotas is the most hard quotas that a plan has; a prepaid balance is none of them.
	MaxHardQuotas = 4
	// maxRate is the most requests in a rate limit's window, and in a burst.
	maxRate = 1_000_000_000
)

// Windows of rate limits and quotas.
var (
	rateWindows  = []string{"second", "minute", "hour"}
	quotaWindows = []string{"hour", "day", "week", "month", "year"}
)

func (c compiler) limits(limits []*catalogv1.Limit) {
	seen := map[string]int{}
	hard := 0
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
			if l.GetMode() != "soft" {
				hard++
			}
			if l.GetMode() != "soft" && hard > MaxHardQuotas {
				c.fields.Add(path, "is hard quota number %d; a plan has at most %d, as each call takes from all of them (soft ones are not bounded)", hard, MaxHardQuotas)
			}
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
	c.size(path+".rate", l.GetRate(), maxRate)
	c.size(path+".burst", l.GetBurst(), maxRate)
	c.refill(path+".burst", l)
	for _, f := range []struct {
		name string
		set  bool
	}{{"meter", l.GetMeter() != ""}, {"mode", l.GetMode() != ""}, {"reserve", l.GetReserve() > 0}} {
		if f.set {
			c.fields.Add(path+"."+f.name, "belongs to a quota; a rate limit has rate, per and burst")
		}
	}
}

func (c compiler) size(path string, value, most uint64) {
	if value > most {
		c.fields.Add(path, "%d is too large; want at most %d", value, most)
	}
}

// refill refuses a burst that takes so long to come back that its time in nanoseconds is no number of 64 bits.
func (c compiler) refill(path string, l *catalogv1.Limit) {
	interval := map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour}[l.GetPer()] / time.Duration(min(l.GetRate(), maxRate))
	if burst := time.Duration(min(l.GetBurst(), maxRate)); burst > math.MaxInt64/(interval+1) {
		c.fields.Add(path, "%d at %d per %s takes centuries to come back; want less", l.GetBurst(), l.GetRate(), l.GetPer())
	}
}

func (c compiler) quota(path string, l *catalogv1.Limit) {
	c.window(path+".per", l.GetPer(), quotaWindows)
	c.size(path+".quota", l.GetQuota(), math.MaxInt64)
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
