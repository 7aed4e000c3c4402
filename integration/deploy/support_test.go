package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
)

var services = harness.Services

func root(tb testing.TB) string {
	tb.Helper()
	dir, err := harness.Root()
	require.NoError(tb, err)
	return dir
}

func read(tb testing.TB, elements ...string) string {
	tb.Helper()
	content, err := os.ReadFile(filepath.Join(elements...))
	require.NoError(tb, err)
	return string(content)
}

func write(tb testing.TB, content string, elements ...string) string {
	tb.Helper()
	path := filepath.Join(elements...)
	require.NoError(tb, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(tb, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// binary returns the path of a service's binary, built from this tree.
func binary(tb testing.TB, service string) string {
	tb.Helper()
	return harness.Binary(tb, service)
}

// run runs a program with no other environment than the given one.
func run(tb testing.TB, env []string, program string, args ...string) (output string, err error) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), program, args...)
	cmd.Env = append([]string{}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// help is what a service's binary tells of its settings.
func help(tb testing.TB, service string) string {
	tb.Helper()
	helps.Lock()
	defer helps.Unlock()
	if helps.text[service] == "" {
		out, err := run(tb, []string{}, binary(tb, service), "--help")
		require.NoError(tb, err, out)
		helps.text[service] = out
	}
	return helps.text[service]
}

var helps = struct {
	sync.Mutex
	text map[string]string
}{text: map[string]string{}}

var (
	helpVariable = regexp.MustCompile(`\(\$([A-Z_]+)\)`)
	// foreign are the variables that the Go runtime and OpenTelemetry read.
	foreign = regexp.MustCompile(`^(SSL_CERT_(FILE|DIR)|GOMEMLIMIT|GOMAXPROCS|OTEL_[A-Z_]+)$`)
)

// knownVariables returns the environment variables that a service reads.
func knownVariables(tb testing.TB, service string) map[string]bool {
	tb.Helper()
	known := map[string]bool{}
	for _, match := range helpVariable.FindAllStringSubmatch(strings.Join(strings.Fields(help(tb, service)), " "), -1) {
		known[match[1]] = true
	}
	require.NotEmpty(tb, known)
	return known
}

// requireKnown fails when a service is told something that it does not read.
func requireKnown(tb testing.TB, service string, names []string) {
	tb.Helper()
	known := knownVariables(tb, service)
	for _, name := range names {
		require.True(tb, known[name] || foreign.MatchString(name), "%s does not read the variable %s", service, name)
	}
}

// requireValid runs a service with --validate.
func requireValid(tb testing.TB, service string, env map[string]string, args ...string) {
	tb.Helper()
	out, err := run(tb, pairs(env), binary(tb, service), append(args, "--validate")...)
	require.NoError(tb, err, "%s %v with %v: %s", service, args, env, out)
	require.Contains(tb, out, "the configuration is valid")
}

func pairs(env map[string]string) []string {
	all := []string{}
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	return all
}

var shared struct {
	once sync.Once
	dir  string
}

// secrets returns a folder of secrets that the tests share; they leave it as it is.
func secrets(tb testing.TB) string {
	tb.Helper()
	shared.once.Do(func() {
		made := makeSecrets(tb)
		shared.dir = filepath.Join(root(tb), ".tmp", "deploy-secrets")
		require.NoError(tb, os.RemoveAll(shared.dir))
		require.NoError(tb, os.CopyFS(shared.dir, os.DirFS(made)))
	})
	require.NotEmpty(tb, shared.dir)
	return shared.dir
}

// makeSecrets runs the script that makes the secrets, into a folder of the test.
func makeSecrets(tb testing.TB) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "secrets")
	out, err := run(tb, os.Environ(), filepath.Join(root(tb), "deploy", "compose", "secrets.sh"), dir)
	require.NoError(tb, err, out)
	require.Empty(tb, out, "secrets are not printed")
	return dir
}
