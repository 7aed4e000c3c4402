package dashboards_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// panelTime is the time range and interval that a panel is shown for.
type panelTime struct {
	from, to time.Time
	interval time.Duration
}

// expand replaces macros as the documentation of Grafana's ClickHouse plugin describes them, and variables: all says that those which
// may be All are.
func expand(t testing.TB, sql string, at panelTime, all bool) string {
	t.Helper()
	dateTime := func(x time.Time) string { return fmt.Sprintf("toDateTime(%d)", x.Unix()) }
	macros := map[string]func(args []string) string{
		"conditionalAll": func(args []string) string {
			require.Len(t, args, 2)
			require.Regexp(t, `^\s*\$\w+$`, args[1])
			if all {
				return "1=1"
			}
			return args[0]
		},
		"timeFilter": func(args []string) string {
			require.Len(t, args, 1)
			return fmt.Sprintf("%s >= %s AND %s <= %s", args[0], dateTime(at.from), args[0], dateTime(at.to))
		},
		"timeInterval": func(args []string) string {
			require.Len(t, args, 1)
			return fmt.Sprintf("toStartOfInterval(toDateTime(%s), INTERVAL %d second)", args[0], int(at.interval.Seconds()))
		},
		"interval_s": func([]string) string { return fmt.Sprint(int(at.interval.Seconds())) },
		"fromTime":   func([]string) string { return dateTime(at.from) },
		"toTime":     func([]string) string { return dateTime(at.to) },
	}
	pattern := regexp.MustCompile(`\$__(\w+)`)
	for {
		found := pattern.FindStringSubmatchIndex(sql)
		if found == nil {
			break
		}
		name := sql[found[2]:found[3]]
		macro, known := macros[name]
		require.True(t, known, "the macro %s is not documented", name)
		args, end := arguments(t, sql, found[1])
		sql = sql[:found[0]] + macro(args) + sql[end:]
	}
	for name, value := range map[string]string{"tenant": "'acme'", "api": "'api1','api2'", "account": "'a1','a2'"} {
		sql = strings.ReplaceAll(sql, "${"+name+":sqlstring}", value)
	}
	require.NotContains(t, sql, "$", "everything is replaced")
	return sql
}

// arguments reads what is in the parentheses at a place, divided at commas that are in no others.
func arguments(t testing.TB, sql string, at int) (args []string, end int) {
	t.Helper()
	if at >= len(sql) || sql[at] != '(' {
		return nil, at
	}
	depth, from := 0, at+1
	for i := at; i < len(sql); i++ {
		switch sql[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return append(args, sql[from:i]), i + 1
			}
		case ',':
			if depth == 1 {
				args, from = append(args, sql[from:i]), i+1
			}
		}
	}
	require.Fail(t, "a parenthesis is not closed", sql)
	return nil, 0
}
