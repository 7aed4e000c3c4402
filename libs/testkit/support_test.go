package testkit_test

import (
	"context"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// untilCleanup is the test's context without its end.
func untilCleanup(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

func kill(t *testing.T, pid int) {
	t.Helper()
	require.NotZero(t, pid)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}
