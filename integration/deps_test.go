package integration_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
)

// linked returns the packages that a binary links.
func linked(t *testing.T, module, pkg string) string {
	t.Helper()
	root, err := harness.Root()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg)
	cmd.Dir = filepath.Join(root, module)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// TestTheGatewayLinksNoDatabaseAndNoFramework keeps the data plane alone.
func TestTheGatewayLinksNoDatabaseAndNoFramework(t *testing.T) {
	t.Parallel()
	deps := linked(t, "services/gateway", "./cmd/gateway")
	for _, banned := range []string{
		"github.com/jackc/pgx", "github.com/ClickHouse/", "github.com/go-kit/", "github.com/pressly/goose",
		"tollgate/libs/eventlog", "tollgate/libs/postgres", "tollgate/libs/operation", "nats-server",
	} {
		require.False(t, strings.Contains(deps, banned), "the gateway links %s", banned)
	}
	require.Contains(t, deps, "github.com/valyala/fasthttp")
}

// TestTestCodeIsInNoBinary.
func TestTestCodeIsInNoBinary(t *testing.T) {
	t.Parallel()
	binaries := map[string]string{"deploy/tollgate": "."}
	for _, s := range []string{"analytics", "billing", "catalog", "gateway", "identity", "metering", "subscription"} {
		binaries["services/"+s] = "./cmd/" + s
	}
	for module, pkg := range binaries {
		deps := linked(t, module, pkg)
		for _, banned := range []string{"tollgate/libs/testkit", "tollgate/libs/servicetest", "stretchr/testify", "pgregory.net/rapid", "\ntesting\n"} {
			require.False(t, strings.Contains(deps, banned), "%s links %s", module, banned)
		}
	}
}

// TestServicesDoNotImportEachOther: proto is the only contract between them.
func TestServicesDoNotImportEachOther(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"analytics", "billing", "catalog", "gateway", "identity", "metering", "subscription"} {
		for line := range strings.Lines(linked(t, "services/"+s, "./...")) {
			other, ok := strings.CutPrefix(strings.TrimSpace(line), "github.com/tollgate/tollgate/services/")
			if ok {
				require.True(t, other == s || strings.HasPrefix(other, s+"/"), "%s imports %s", s, line)
			}
		}
	}
}
