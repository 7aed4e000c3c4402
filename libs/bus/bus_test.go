package bus_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/testkit"
)

// userSeed was drawn for these tests; no server knows it.
const userSeed = "SUAFO7GVO2KVQQHPGA6DOVN5FBXYMT5UZKMOZXNCLZAN53YSKGTLIMOESE"

func TestCredentialsAreChecked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ content, wrong string }{
		"seed":             {content: userSeed},
		"seed and newline": {content: userSeed + "\n"},
		"JWT":              {content: "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n"},
		"mistyped seed":    {content: strings.Replace(userSeed, "SU", "SA", 1), wrong: "neither the seed of a user's nkey"},
		"something else":   {content: "hunter2", wrong: "neither the seed of a user's nkey"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "user.nk")
			require.NoError(t, os.WriteFile(file, []byte(test.content), 0o600))
			err := bus.Config{URL: "nats://127.0.0.1:4222", Credentials: file}.Validate()
			if test.wrong == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.wrong)
			require.NotContains(t, err.Error(), test.content, "what is in the file may be a secret")
		})
	}
	require.ErrorContains(t, bus.Config{URL: "nats://127.0.0.1:4222", Credentials: "/nowhere/user.nk"}.Validate(), "/nowhere/user.nk")
}

// TestInboxes: answers to each service arrive below a subject of its own.
func TestInboxes(t *testing.T) {
	t.Parallel()
	url := testkit.NATS(t).URL()
	for name, prefix := range map[string]string{
		"catalog": "_INBOX_catalog.", "gateway-gw1": "_INBOX_gateway.", "gateway-eu-1": "_INBOX_gateway.", "": "_INBOX.", "A name.*": "_INBOX.",
	} {
		b, err := bus.Connect(bus.Config{URL: url, Name: name})
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(b.Conn.NewInbox(), prefix), name)
		b.Close()
	}
}
