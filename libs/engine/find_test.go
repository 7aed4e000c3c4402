package engine_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/engine"
)

// These change the environment and the working directory of the process: none is parallel.

func TestFindTakesTheNamedFolder(t *testing.T) {
	named := t.TempDir()
	t.Setenv("TOLLGATE_ENGINES", named)
	_, err := engine.Find()
	require.ErrorIs(t, err, engine.ErrNotInstalled)
	require.ErrorContains(t, err, "make engines")
	require.ErrorContains(t, err, named)

	require.NoError(t, os.WriteFile(filepath.Join(named, "installed"), []byte("stamp\n"), 0o600))
	found, err := engine.Find()
	require.NoError(t, err)
	require.Equal(t, engine.Dir(named), found)
	stamp, err := found.Stamp()
	require.NoError(t, err)
	require.Equal(t, "stamp\n", stamp)
}

func TestFindLooksAboveTheWorkingDirectory(t *testing.T) {
	t.Setenv("TOLLGATE_ENGINES", "")
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	deep := filepath.Join(root, "a", "b")
	require.NoError(t, os.MkdirAll(deep, 0o755))
	t.Chdir(deep)
	_, err = engine.Find()
	require.ErrorIs(t, err, engine.ErrNotInstalled)

	// A folder without a stamp is an installation that was not finished.
	require.NoError(t, os.MkdirAll(filepath.Join(root, ".engines", "node_modules"), 0o755))
	_, err = engine.Find()
	require.ErrorIs(t, err, engine.ErrNotInstalled)

	require.NoError(t, os.WriteFile(filepath.Join(root, ".engines", "installed"), nil, 0o600))
	found, err := engine.Find()
	require.NoError(t, err)
	require.Equal(t, engine.Dir(filepath.Join(root, ".engines")), found)
}
