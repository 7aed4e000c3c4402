package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func loadDisk(t require.TestingT, dir string) (*Disk, map[string]string) {
	held := map[string]string{}
	d, err := OpenDisk(dir, func(bucket, key string, value []byte) { held[bucket+"/"+key] = string(value) })
	require.NoError(t, err)
	return d, held
}

func TestWhatWasStoredIsThereAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, held := loadDisk(t, dir)
	require.Empty(t, held)
	require.False(t, d.Complete())
	want := map[string]string{}
	for i := range 500 {
		key, value := fmt.Sprint("key", i%50), strings.Repeat(fmt.Sprint(i), 100)
		require.NoError(t, d.Put("gw_apis", key, []byte(value)))
		want["gw_apis/"+key] = value
	}
	require.NoError(t, d.MarkComplete())
	require.NoError(t, d.MarkComplete())
	require.NoError(t, d.Sync())
	require.NoError(t, d.Close())
	d, held = loadDisk(t, dir)
	require.Equal(t, want, held)
	require.True(t, d.Complete())
	require.NoError(t, d.Close())
}

func TestTheLogIsRewrittenWhenMostOfItIsOutOfDate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, _ := loadDisk(t, dir)
	require.NoError(t, d.MarkComplete())
	value := []byte(strings.Repeat("x", 100_000))
	for range 200 {
		require.NoError(t, d.Put("gw_apis", "one", value))
	}
	require.NoError(t, d.Put("gw_apis", "two", []byte("2")))
	info, err := os.Stat(filepath.Join(dir, "configuration"))
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(6<<20))
	require.NoError(t, d.Close())
	d, held := loadDisk(t, dir)
	require.True(t, d.Complete())
	require.Equal(t, map[string]string{"gw_apis/one": string(value), "gw_apis/two": "2"}, held)
	require.NoError(t, d.Close())
}

func TestAWriteThatWasCutShortIsDropped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, _ := loadDisk(t, dir)
	require.NoError(t, d.MarkComplete())
	require.NoError(t, d.Put("gw_apis", "one", []byte("first")))
	require.NoError(t, d.Put("gw_apis", "two", []byte("second")))
	require.NoError(t, d.Close())
	path := filepath.Join(dir, "configuration")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for cut := 1; cut < 30; cut++ {
		require.NoError(t, os.WriteFile(path, whole[:len(whole)-cut], 0o600))
		d, held := loadDisk(t, dir)
		require.Equal(t, map[string]string{"gw_apis/one": "first"}, held, "cut by %d", cut)
		require.True(t, d.Complete())
		require.NoError(t, d.Put("gw_apis", "two", []byte("again")))
		require.NoError(t, d.Close())
		d, held = loadDisk(t, dir)
		require.Equal(t, "again", held["gw_apis/two"])
		require.NoError(t, d.Close())
	}
}

func TestADamagedLogIsNotWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, _ := loadDisk(t, dir)
	require.NoError(t, d.MarkComplete())
	require.NoError(t, d.Put("gw_apis", "one", []byte("first")))
	require.NoError(t, d.Put("gw_apis", "two", []byte("second")))
	require.NoError(t, d.Close())
	path := filepath.Join(dir, "configuration")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	i := strings.Index(string(whole), "first")
	whole[i] ^= 0xff
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	d, held := loadDisk(t, dir)
	require.Empty(t, held)
	require.False(t, d.Complete(), "what follows the damage may be missing")
	require.NoError(t, d.MarkComplete())
	require.NoError(t, d.Close())
	d, _ = loadDisk(t, dir)
	require.True(t, d.Complete())
	require.NoError(t, d.Close())
}

func TestAnyLogCanBeOpened(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "disk")
		require.NoError(t, err)
		defer func() { _ = os.RemoveAll(dir) }()
		content := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "content")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "configuration"), content, 0o600))
		d, _ := loadDisk(t, dir)
		require.NoError(t, d.Put("gw_apis", "one", []byte("first")))
		require.NoError(t, d.Close())
		d, held := loadDisk(t, dir)
		require.Equal(t, "first", held["gw_apis/one"])
		require.NoError(t, d.Close())
	})
}
