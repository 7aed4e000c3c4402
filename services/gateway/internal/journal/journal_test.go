package journal

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/callrecord"
)

func openJournal(t testing.TB, c Config) *Journal {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = minSegment
	}
	c.Log = slog.New(slog.DiscardHandler)
	j, err := Open(c)
	require.NoError(t, err)
	return j
}

// add appends the final record of one call.
func add(t testing.TB, j *Journal, path string) Place {
	t.Helper()
	c := callrecord.Call{Path: path, Status: 200}
	payload := c.Append(nil)
	p, err := j.Reserve(len(payload) + callrecord.IdentitySize)
	require.NoError(t, err)
	j.Commit(p, callrecord.AppendIdentity(payload, p.Seq, p.CompletedAt, 5))
	return p
}

func decode(t testing.TB, r Record) *callsv1.CallRecord {
	t.Helper()
	var m callsv1.CallRecord
	require.NoError(t, proto.Unmarshal(r.Payload, &m))
	require.Equal(t, r.Seq, m.GetSeq())
	require.Equal(t, r.CompletedAt, m.GetCompletedAt())
	return &m
}

func TestRecordsComeBackInOrderOverManySegments(t *testing.T) {
	t.Parallel()
	j := openJournal(t, Config{})
	defer func() { require.NoError(t, j.Close()) }()
	const n = 5000
	for i := range n {
		require.Equal(t, uint64(i+1), add(t, j, fmt.Sprintf("/%d", i)).Seq)
	}
	r := j.Reader()
	for i := range n {
		record, ok := r.Next()
		require.True(t, ok, i)
		require.Equal(t, fmt.Sprintf("/%d", i), decode(t, record).GetPath())
	}
	_, ok := r.Next()
	require.False(t, ok)
	require.False(t, r.Position().Before(j.Mark().Position))
	require.Greater(t, r.Position().Segment, uint64(3))
}

func TestAReservedRecordHoldsTheReaderBack(t *testing.T) {
	t.Parallel()
	j := openJournal(t, Config{})
	defer func() { require.NoError(t, j.Close()) }()
	p, err := j.Reserve(100)
	require.NoError(t, err)
	add(t, j, "/second")
	r := j.Reader()
	_, ok := r.Next()
	require.False(t, ok)
	j.Commit(p, callrecord.AppendIdentity(nil, p.Seq, p.CompletedAt, 0))
	for range 2 {
		_, ok = r.Next()
		require.True(t, ok)
	}
}

func TestOneProcessADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, Config{Dir: dir})
	_, err := Open(Config{Dir: dir, SegmentBytes: minSegment})
	require.ErrorContains(t, err, "another process uses")
	require.NoError(t, j.Close())
	again := openJournal(t, Config{Dir: dir})
	require.Greater(t, again.Boot(), j.Boot())
	require.NoError(t, again.Close())
}

func TestARestoredDirectoryNeverRepeatsABoot(t *testing.T) {
	t.Parallel()
	dir, backup := t.TempDir(), t.TempDir()
	at := func(seconds int64) func() time.Time { return func() time.Time { return time.Unix(seconds, 0) } }
	first := openJournal(t, Config{Dir: dir, Clock: at(1_800_000_000)})
	require.NoError(t, first.Close())
	require.NoError(t, os.CopyFS(backup, os.DirFS(dir)))
	second := openJournal(t, Config{Dir: dir, Clock: at(1_800_000_000)})
	require.NoError(t, second.Close())
	require.Equal(t, first.Boot()+1, second.Boot())
	restored := openJournal(t, Config{Dir: backup, Clock: at(1_800_000_060)})
	require.NoError(t, restored.Close())
	require.Greater(t, restored.Boot(), second.Boot())
}

func TestAFreshDirectoryNeverRepeatsABoot(t *testing.T) {
	t.Parallel()
	first := openJournal(t, Config{Clock: func() time.Time { return time.Unix(1_800_000_000, 0) }})
	require.NoError(t, first.Close())
	second := openJournal(t, Config{Clock: func() time.Time { return time.Unix(1_800_000_001, 0) }})
	require.NoError(t, second.Close())
	require.Equal(t, uint64(1_800_000_000), first.Boot())
	require.Greater(t, second.Boot(), first.Boot())
}

func TestAnEarlierBootIsReadFromItsCheckpoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, Config{Dir: dir})
	for i := range 1000 {
		add(t, j, fmt.Sprintf("/%d", i))
	}
	r := j.Reader()
	for range 600 {
		_, ok := r.Next()
		require.True(t, ok)
	}
	require.NoError(t, j.MoveCheckpoint(Checkpoint{Boot: j.Boot(), Position: r.Position(), SealCeiling: 42}))
	require.NoError(t, j.Release(r.Position(), 600))
	require.Equal(t, uint64(400), j.Unshipped())
	require.NoError(t, j.Close())

	again := openJournal(t, Config{Dir: dir})
	require.Equal(t, []uint64{j.Boot()}, again.EarlierBoots())
	e, err := again.OpenEarlier(j.Boot())
	require.NoError(t, err)
	for i := 600; i < 1000; i++ {
		record, ok := e.Next()
		require.True(t, ok)
		require.Equal(t, fmt.Sprintf("/%d", i), decode(t, record).GetPath())
	}
	_, ok := e.Next()
	require.False(t, ok)
	require.Empty(t, e.Interrupted(1))
	require.Equal(t, uint64(1001), e.NextSeq())
	require.NoError(t, e.Remove())
	require.NoError(t, again.Close())
	third := openJournal(t, Config{Dir: dir})
	require.NotContains(t, third.EarlierBoots(), j.Boot())
	require.NoError(t, third.Close())
}

func TestWhatWasInTheMakingIsReportedInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, Config{Dir: dir})
	add(t, j, "/whole")
	_, err := j.Reserve(100) // seq 2: never committed
	require.NoError(t, err)
	stream := func(path string) Place { // the first record of a streamed answer
		c := callrecord.Call{Path: path, EndReason: callrecord.EndGatewayKilled, Reason: callsv1.Reason_REASON_INTERNAL}
		payload := c.Append(nil)
		p, err := j.Reserve(len(payload) + callrecord.IdentitySize)
		require.NoError(t, err)
		j.CommitOpened(p, callrecord.AppendIdentity(payload, p.Seq, p.CompletedAt, 0))
		return p
	}
	stream("/cut") // seq 3
	ended := stream("/ended")
	for i := range 2000 { // so that the first segment would be released
		add(t, j, fmt.Sprintf("/%d", i))
	}
	final, err := j.ReserveFinal(ended, 100)
	require.NoError(t, err)
	require.Equal(t, ended.Seq, final.Seq)
	j.Commit(final, callrecord.AppendIdentity(nil, final.Seq, final.CompletedAt, 9))
	j.Closed(ended)
	end := j.Mark().Position
	require.NoError(t, j.MoveCheckpoint(Checkpoint{Boot: j.Boot(), Position: Position{Segment: end.Segment, Offset: segmentHeader}}))
	require.NoError(t, j.Release(end, 1))
	require.NoError(t, j.Close())

	again := openJournal(t, Config{Dir: dir})
	defer func() { require.NoError(t, again.Close()) }()
	e, err := again.OpenEarlier(j.Boot())
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	interrupted := e.Interrupted(777)
	require.Len(t, interrupted, 2)
	for i, want := range []struct {
		seq  uint64
		path string
	}{{2, ""}, {3, "/cut"}} {
		m := decode(t, interrupted[i])
		require.Equal(t, want.seq, m.GetSeq())
		require.Equal(t, want.path, m.GetPath())
		require.Equal(t, int64(777), m.GetCompletedAt())
		require.Equal(t, callrecord.EndGatewayKilled, m.GetEndReason())
		require.False(t, m.GetBillable())
	}
}

func TestADamagedRecordIsNotRead(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(b []byte, at int64){
		"payload":          func(b []byte, at int64) { b[at+recordHeader] ^= 0xff },
		"checksum":         func(b []byte, at int64) { b[at+28] ^= 0xff },
		"impossible chain": func(b []byte, at int64) { binary.LittleEndian.PutUint32(b[at:], 13) },
		"chain too long":   func(b []byte, at int64) { binary.LittleEndian.PutUint32(b[at:], 1<<30) },
		"length too long":  func(b []byte, at int64) { binary.LittleEndian.PutUint32(b[at+24:], 1<<20) },
		"zeroed tail":      func(b []byte, at int64) { clear(b[at:]) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			j := openJournal(t, Config{Dir: dir})
			add(t, j, "/1")
			torn := add(t, j, "/2")
			require.NoError(t, j.Close())
			path := segmentPath(dir, j.Boot(), 0)
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			damage(content, torn.offset)
			require.NoError(t, os.WriteFile(path, content, 0o600))

			again := openJournal(t, Config{Dir: dir})
			defer func() { require.NoError(t, again.Close()) }()
			e, err := again.OpenEarlier(j.Boot())
			require.NoError(t, err)
			defer func() { require.NoError(t, e.Close()) }()
			record, ok := e.Next()
			require.True(t, ok)
			require.Equal(t, "/1", decode(t, record).GetPath())
			_, ok = e.Next()
			require.False(t, ok)
		})
	}
}

func TestFilesThatWereCutShort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, Config{Dir: dir})
	add(t, j, "/1")
	require.NoError(t, j.Close())
	require.NoError(t, os.WriteFile(segmentPath(dir, j.Boot(), 1), []byte("TGJ"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "checkpoint"), []byte("short"), 0o600))
	again := openJournal(t, Config{Dir: dir})
	defer func() { require.NoError(t, again.Close()) }()
	e, err := again.OpenEarlier(j.Boot())
	require.NoError(t, err)
	_, ok := e.Next()
	require.True(t, ok)
	_, ok = e.Next()
	require.False(t, ok)
	require.NoError(t, e.Remove())
}

func TestACheckpointSurvivesAWriteCutShort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := openCheckpoint(dir)
	require.NoError(t, err)
	one, two := Checkpoint{Boot: 1, Position: Position{1, 64}}, Checkpoint{Boot: 1, Position: Position{2, 64}, SealCeiling: 9, Closed: true}
	require.NoError(t, c.write(one))
	require.NoError(t, c.write(two))
	require.NoError(t, c.close())
	content, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	require.NoError(t, err)
	for slot, want := range []Checkpoint{one, two} { // the second write went to slot 0
		damaged := append([]byte(nil), content...)
		damaged[slot*slotBytes+10] ^= 0xff
		require.NoError(t, os.WriteFile(filepath.Join(dir, "checkpoint"), damaged, 0o600))
		again, err := openCheckpoint(dir)
		require.NoError(t, err)
		require.Equal(t, want, again.read())
		require.NoError(t, again.close())
	}
}

func TestAFullJournalRefusesAndGoesOn(t *testing.T) {
	t.Parallel()
	j := openJournal(t, Config{MaxBytes: 3 * minSegment})
	defer func() { require.NoError(t, j.Close()) }()
	admitted := uint64(0)
	for j.Begin() {
		add(t, j, "/x") // whoever was admitted always finds room
		j.End()
		admitted++
		require.Less(t, admitted, uint64(1e6))
	}
	require.True(t, j.Full())
	r := j.Reader()
	n := uint64(0)
	for {
		if _, ok := r.Next(); !ok {
			break
		}
		n++
	}
	require.Equal(t, admitted, n)
	require.NoError(t, j.Release(r.Position(), n))
	require.Eventually(t, func() bool {
		if !j.Begin() {
			return false
		}
		j.End()
		return true
	}, 10*time.Second, time.Millisecond)
	require.Zero(t, j.Unshipped())
}

func TestTheLimitCountsCallsInFlight(t *testing.T) {
	t.Parallel()
	j := openJournal(t, Config{MaxBytes: 2 * minSegment})
	require.Eventually(t, func() bool { return !j.lone.Load() }, 10*time.Second, time.Millisecond)
	defer func() { require.NoError(t, j.Close()) }()
	j.lone.Store(true) // as when no further segment can be made
	var n int64
	for j.Begin() {
		n++
	}
	require.Equal(t, InFlight(minSegment), n)
}

func TestEverythingBeforeAMarkCompletedBeforeIt(t *testing.T) {
	t.Parallel()
	j := openJournal(t, Config{SegmentBytes: 1 << 20})
	defer func() { require.NoError(t, j.Close()) }()
	var writers sync.WaitGroup
	const each = 20_000
	for range 4 {
		writers.Go(func() {
			for range each {
				add(t, j, "/x")
			}
		})
	}
	finished := make(chan struct{})
	go func() { writers.Wait(); close(finished) }()
	r := j.Reader()
	seen, next, sealedUntil := 0, uint64(1), int64(0)
	for over := false; !over; {
		select {
		case <-finished:
			over = true
		default:
		}
		mark := j.Mark()
		for r.Position().Before(mark.Position) {
			record, ok := r.Next()
			if !ok {
				continue // reserved, about to be committed
			}
			require.Equal(t, next, record.Seq, "sequence numbers follow the file")
			require.GreaterOrEqual(t, record.CompletedAt, sealedUntil, "completed before a seal that did not include it")
			require.LessOrEqual(t, record.CompletedAt, mark.Time)
			next++
			seen++
		}
		sealedUntil = mark.Time
	}
	require.Equal(t, 4*each, seen)
}

func TestTimeNeverRunsBackwards(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Unix(1_800_000_000, 0)
	j := openJournal(t, Config{Dir: dir, Clock: func() time.Time { return now }})
	first := add(t, j, "/1")
	now = now.Add(-time.Hour)
	require.GreaterOrEqual(t, add(t, j, "/2").CompletedAt, first.CompletedAt)
	mark := j.Mark()
	require.NoError(t, j.MoveCheckpoint(Checkpoint{Boot: j.Boot(), Position: mark.Position, SealCeiling: mark.Time}))
	require.NoError(t, j.Close())
	again := openJournal(t, Config{Dir: dir, Clock: func() time.Time { return now }})
	require.GreaterOrEqual(t, add(t, again, "/3").CompletedAt, mark.Time)
	require.NoError(t, again.Close())
}

func TestStrictWaitersShareASync(t *testing.T) {
	t.Parallel()
	j := openJournal(t, Config{Mode: Strict, SegmentBytes: 1 << 20})
	var waiters sync.WaitGroup
	for range 32 {
		waiters.Go(func() {
			for range 20 {
				add(t, j, "/x")
				require.NoError(t, j.Await())
			}
		})
	}
	waiters.Wait()
	require.NoError(t, j.Close())
	require.Error(t, j.Await())
}

func TestValidateNamesEveryField(t *testing.T) {
	t.Parallel()
	err := Config{SegmentBytes: 5, MaxBytes: 1, Mode: "later", SyncInterval: time.Hour}.Validate()
	for _, want := range []string{"journal.dir", "journal.segmentBytes", "journal.maxBytes", "journal.mode", "journal.syncInterval"} {
		require.ErrorContains(t, err, want)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, mode := range []Mode{Bounded, Strict} {
		b.Run(string(mode), func(b *testing.B) {
			j := openJournal(b, Config{Mode: mode, SegmentBytes: 32 << 20, MaxBytes: 64 << 30})
			stop, drained := make(chan struct{}), make(chan error, 1)
			go drain(j, stop, drained)
			payload := make([]byte, 420)
			b.ReportAllocs()
			b.SetParallelism(8)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					p, err := j.Reserve(len(payload))
					if err != nil {
						b.Error(err)
						return
					}
					j.Commit(p, payload)
					if err := j.Await(); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			close(stop)
			require.NoError(b, <-drained)
			require.NoError(b, j.Close())
		})
	}
}

// drain reads and releases, as the shipper does, so that the disk stays free.
func drain(j *Journal, stop <-chan struct{}, drained chan<- error) {
	r := j.Reader()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			drained <- nil
			return
		case <-tick.C:
		}
		for {
			if _, ok := r.Next(); !ok {
				break
			}
		}
		if err := j.Release(r.Position(), 0); err != nil {
			drained <- err
			return
		}
	}
}
