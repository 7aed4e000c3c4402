package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/cli"
)

const sample = "../sample/weather"

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	none := func(string) (string, bool) { return "", false }
	code = cli.Main(append([]string{"tollgate"}, args...), &out, &errOut, none)
	return code, out.String(), errOut.String()
}

func TestRatePrintsWhatTheSampleExpects(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := run(t, "rate", "--plan", filepath.Join(sample, "rate", "plan.yaml"), "--usage", filepath.Join(sample, "rate", "usage.json"))
	require.Equal(t, 0, code, stderr)
	want, err := os.ReadFile(filepath.Join(sample, "rate", "expected.json"))
	require.NoError(t, err)
	require.JSONEq(t, string(want), stdout)
}

func TestRateExplainsWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	usage := filepath.Join(sample, "rate", "usage.json")
	const head = "apiVersion: tollgate/v1\nkind: Plan\nmetadata: {name: p, product: q}\n"
	for name, c := range map[string]struct{ plan, usage, want string }{
		"unknown currency": {write("a.yaml", head+"spec:\n  title: T\n  currency: XXQ\n"), usage, "a.yaml:6: spec.currency"},
		"descending tiers": {write("b.yaml", head+"spec:\n  title: T\n  currency: USD\n  prices:\n    - name: c\n      meter: calls\n      model: graduated\n      tiers:\n        - {upTo: \"5\", unit: \"1\"}\n        - {upTo: \"4\", unit: \"1\"}\n        - {unit: \"1\"}\n"), usage, "b.yaml:13: spec.prices[0].tiers[1].upTo"},
		"two documents":    {sample + "/plans.yaml", usage, "want exactly one document of kind Plan"},
		"negative usage":   {filepath.Join(sample, "rate", "plan.yaml"), write("u.json", `{"meters":{"calls":{"quantity":"-1"}}}`), "u.json"},
		"no such file":     {"nope.yaml", usage, "nope.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, _, stderr := run(t, "rate", "--plan", c.plan, "--usage", c.usage)
			require.Equal(t, 1, code)
			require.Contains(t, stderr, c.want)
		})
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no suite":        {[]string{"get", "apis", "--data", "nowhere"}, 1, "no suite is running on nowhere"},
		"unknown kind":    {[]string{"get", "apples", "--server", "http://127.0.0.1:1", "--token", "x"}, 1, `"apples" is not a kind; want one of accounts`},
		"unknown command": {[]string{"aply"}, 2, "tollgate --help"},
		"bad day":         {[]string{"reconcile", "--from", "yesterday", "--to", "2026-11-02"}, 1, `--from: "yesterday" is not a time`},
		"no database":     {[]string{"grafana", "provision", "--url", "http://127.0.0.1:1", "--token", "x", "--clickhouse", "tcp://x"}, 1, "--clickhouse: want clickhouse://"},
		"no audit":        {[]string{"audit", "--service", "catalog,gateway"}, 1, `--service: "gateway" has no audit`},
		"no entries":      {[]string{"audit", "--limit", "0"}, 1, "--limit: 0 is not 1 or more"},
		"no such day":     {[]string{"audit", "--since", "yesterday"}, 1, `--since: "yesterday" is not a time`},
		"no tenants":      {[]string{"grafana", "users", "--tenants", "nowhere.yaml"}, 1, "--tenants: open nowhere.yaml"},
		"search of one":   {[]string{"get", "api", "weather", "--search", "x", "--server", "http://127.0.0.1:1", "--token", "x"}, 1, "--search goes with lists of accounts, apis"},
		"search of runs":  {[]string{"get", "runs", "--search", "x", "--server", "http://127.0.0.1:1", "--token", "x"}, 1, "--search goes with lists of accounts, apis"},
		"nobody there":    {[]string{"get", "apis", "--server", "http://127.0.0.1:1", "--token", "x"}, 1, "is `tollgate up` running?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, _, stderr := run(t, c.args...)
			require.Equal(t, c.code, code)
			require.Contains(t, stderr, c.want)
		})
	}
	code, stdout, _ := run(t, "--help")
	require.Equal(t, 0, code)
	require.Contains(t, stdout, "apply")
}
