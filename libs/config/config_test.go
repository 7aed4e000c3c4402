package config_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/config"
)

type settings struct {
	Listen string `help:"Address." default:"127.0.0.1:1"`
	Secret string `help:"Password." secret:"true"`
	Nats   struct {
		URL string `name:"url" help:"Server." env:"CONFIG_TEST_NATS_URL"`
	} `embed:"" prefix:"nats-"`
}

// Validate is called by the library that parses, too.
func (s settings) Validate() error {
	if s.Listen == "" {
		return errors.New("listen: is empty")
	}
	return nil
}

func run(t *testing.T, args ...string) (code int, got settings, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = config.Main(config.Process[settings]{
		Name: "demo", Description: "Demo.",
		Validate: settings.Validate,
		Health: func(_ context.Context, s settings) error {
			if s.Listen == "" {
				return errors.New("not ready")
			}
			return nil
		},
		Run:   func(_ context.Context, s settings) error { got = s; return nil },
		Tasks: []config.Task{{Name: "check", Help: "look"}, {Name: "mend", Help: "repair"}},
		Do: func(_ context.Context, s settings, task string) error {
			_, err := fmt.Fprintf(&out, "%s at %s", task, s.Listen)
			return err
		},
	}, args, &out, &errOut)
	return code, got, out.String(), errOut.String()
}

func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "demo.yaml")
	require.NoError(t, os.WriteFile(file, []byte("listen: from-file\nnats-url: from-file\n"), 0o600))
	t.Setenv("CONFIG_TEST_NATS_URL", "from-env")

	code, got, _, _ := run(t)
	require.Equal(t, 0, code)
	require.Equal(t, "127.0.0.1:1", got.Listen)

	_, got, _, _ = run(t, "--config", file)
	require.Equal(t, "from-file", got.Listen)
	require.Equal(t, "from-env", got.Nats.URL)

	_, got, _, _ = run(t, "--config", file, "--listen", "from-flag")
	require.Equal(t, "from-flag", got.Listen)
}

func TestTasks(t *testing.T) {
	code, got, stdout, _ := run(t, "--listen", "127.0.0.1:2", "mend")
	require.Equal(t, 0, code)
	require.Equal(t, "mend at 127.0.0.1:2", stdout)
	require.Empty(t, got.Listen, "it does not run")

	code, _, _, stderr := run(t, "break")
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "unexpected argument break; the tasks are check, mend")

	_, _, stdout, _ = run(t, "--help")
	require.Contains(t, strings.Join(strings.Fields(stdout), " "), "check: look; mend: repair.")
}

func TestWrongConfiguration(t *testing.T) {
	code, _, _, stderr := run(t, "--listen", "")
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "listen: is empty")

	code, _, _, stderr = run(t, "--lisen", "x")
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "--lisen")
}

func TestSecretsAreNotPrinted(t *testing.T) {
	code, _, stdout, _ := run(t, "--secret", "hunter2", "--print-config")
	require.Equal(t, 0, code)
	require.Contains(t, stdout, "secret: ***")
	require.NotContains(t, stdout, "hunter2")
	require.Contains(t, stdout, "nats-url: ")

	code, _, stdout, _ = run(t, "--validate")
	require.Equal(t, 0, code)
	require.Contains(t, stdout, "valid")
}

func TestHealthcheck(t *testing.T) {
	code, _, stdout, _ := run(t, "--healthcheck")
	require.Equal(t, 0, code)
	require.Equal(t, "ready\n", stdout)

	code, _, _, stderr := run(t, "--healthcheck", "--listen", "")
	require.Equal(t, 1, code, "the configuration is not validated: secrets may be missing where health is asked for")
	require.Equal(t, "demo: not ready\n", stderr)
}
