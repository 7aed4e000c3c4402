package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

// TestAFullDiskCostsNothingThatWasStored has the log rewritten into what takes nothing, or cannot be synced.
func TestAFullDiskCostsNothingThatWasStored(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		make func(path string) error
		want error
	}{
		{"no room", func(path string) error { return os.Symlink("/dev/full", path) }, syscall.ENOSPC},
		{"no sync", func(path string) error { return syscall.Mkfifo(path, 0o600) }, syscall.EINVAL},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			d, _ := loadDisk(t, dir)
			require.NoError(t, d.Put("gw_apis", "two", []byte("2")))
			require.NoError(t, d.MarkComplete())
			require.NoError(t, c.make(filepath.Join(dir, "configuration.new")))
			value := []byte(strings.Repeat("x", 20_000))
			var failed error
			for i := 0; failed == nil; i++ {
				require.Less(t, i, 1000, "it is rewritten before")
				failed = d.Put("gw_apis", "one", value)
			}
			require.ErrorIs(t, failed, c.want)
			require.NoFileExists(t, filepath.Join(dir, "configuration.new"), "what was written in vain takes no room")
			want := map[string]string{"gw_apis/one": string(value), "gw_apis/two": "2"}
			require.Equal(t, want, onDisk(t, dir))
			require.NoError(t, d.Put("gw_apis", "three", []byte("3")), "there is room again")
			want["gw_apis/three"] = "3"
			require.Equal(t, want, onDisk(t, dir))
			require.NoError(t, d.Close())
		})
	}
}

// onDisk is what a gateway that starts now would find.
func onDisk(t *testing.T, dir string) map[string]string {
	t.Helper()
	path := filepath.Join(dir, "configuration")
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.True(t, info.Mode().IsRegular(), info.Mode())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	elsewhere := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, "configuration"), content, 0o600))
	d, held := loadDisk(t, elsewhere)
	require.True(t, d.Complete())
	require.NoError(t, d.Close())
	return held
}

// TestARewrittenLogThatIsCutShortIsNotWhole cuts off the end, where the mark is.
func TestARewrittenLogThatIsCutShortIsNotWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, _ := loadDisk(t, dir)
	for i := range 50 {
		require.NoError(t, d.Put("gw_apis", fmt.Sprint(i), []byte("1")))
	}
	require.NoError(t, d.MarkComplete())
	require.NoError(t, d.compact())
	require.NoError(t, d.Close())
	path := filepath.Join(dir, "configuration")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, info.Size()-1))
	d, held := loadDisk(t, dir)
	require.Len(t, held, 50)
	require.False(t, d.Complete())
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

func TestWhatCouldNotBeStoredIsNotWhole(t *testing.T) {
	t.Parallel()
	d, _ := loadDisk(t, t.TempDir())
	require.Error(t, d.Put("gw_apis", "one", make([]byte, maxEntry+1)))
	require.ErrorContains(t, d.MarkComplete(), "1 documents could not be stored")
	require.False(t, d.Complete())
	require.NoError(t, d.Put("gw_apis", "one", []byte("first")))
	require.NoError(t, d.MarkComplete())
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
