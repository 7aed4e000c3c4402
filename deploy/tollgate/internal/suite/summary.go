package suite

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// summarize prints what runs where and what to try.
func summarize(c Config, r Ready, took time.Duration) {
	fmt.Fprintf(c.Out, "\nTollgate is ready (%.1f s).\n\n", took.Seconds())
	w := tabwriter.NewWriter(c.Out, 2, 0, 2, ' ', 0)
	if r.Gateway != "" {
		fmt.Fprintf(w, "  gateway\t%s\tpublished APIs\n", r.Gateway)
		fmt.Fprintf(w, "  admin\t%s\tmanagement API, health, metrics\n", r.Admin)
	}
	if r.SampleUpstream != "" {
		fmt.Fprintf(w, "  sample\t%s\tthe weather API's upstream\n", r.SampleUpstream)
	}
	fmt.Fprintf(w, "  postgres\t%s\tpid %d\n", withoutPassword(r.Postgres), r.Children["postgres"])
	fmt.Fprintf(w, "  clickhouse\t%s\tpid %d\n", withoutPassword(r.ClickHouse), r.Children["clickhouse"])
	fmt.Fprintf(w, "  nats\t%s\tin this process\n", withoutPassword(r.NATS))
	fmt.Fprintf(w, "  addresses\t%s\twith their passwords, for programs\n", c.path("ready.json"))
	fmt.Fprintf(w, "  log\t%s\t\n", c.path("tollgate.log"))
	if r.AdminTokenFile != "" {
		fmt.Fprintf(w, "  token\t%s\tthe first administrator's\n", r.AdminTokenFile)
	}
	_ = w.Flush()
	if r.SampleKeyFile != "" {
		try(c, r)
	}
	fmt.Fprintf(c.Out, "\nCtrl-C stops everything.\n")
}

// try prints three commands that work when pasted.
func try(c Config, r Ready) {
	key, err := os.ReadFile(r.SampleKeyFile)
	if err != nil {
		return
	}
	data := ""
	if os.Getenv("TOLLGATE_DATA") == "" {
		data = " --data " + c.Data
	}
	fmt.Fprintf(c.Out, `
Try:
  curl -i -H 'X-API-Key: %s' %s/weather/v1/current/Berlin
  %s calls list%s
  %s invoices preview globex-weather%s
`, strings.TrimSpace(string(key)), r.Gateway, c.Program, data, c.Program, data)
}

func withoutPassword(address string) string {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return address
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = rest[at+1:]
	}
	rest, _, _ = strings.Cut(rest, "?")
	return scheme + "://" + rest
}
