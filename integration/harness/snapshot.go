package harness

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// snapshotChunk is how much of a snapshot is in one message.
const snapshotChunk = 128 << 10

// snapshotWait bounds the wait for a message of a snapshot.
const snapshotWait = 20 * time.Second

// answer is what JetStream's API says; the fields are those of the snapshot and the restoration.
type answer struct {
	Error          *struct{ Description string } `json:"error"`
	Config         json.RawMessage               `json:"config"`
	State          json.RawMessage               `json:"state"`
	DeliverSubject string                        `json:"deliver_subject"`
}

func (a *answer) read(message *nats.Msg, err error) error {
	if err == nil {
		err = json.Unmarshal(message.Data, a)
	}
	if err == nil && a.Error != nil {
		err = errors.New(a.Error.Description)
	}
	return err
}

// SnapshotStream writes a stream of the NATS server at url to a file, as `nats stream backup` does: the API's
// STREAM.SNAPSHOT, whose answer is the file's first line.
func SnapshotStream(tb testing.TB, url, stream, path string) {
	tb.Helper()
	conn, err := nats.Connect(url)
	require.NoError(tb, err)
	defer conn.Close()
	inbox, err := conn.SubscribeSync(conn.NewInbox())
	require.NoError(tb, err)
	require.NoError(tb, inbox.SetPendingLimits(-1, -1))
	request := fmt.Sprintf(`{"deliver_subject":%q,"chunk_size":%d,"no_consumers":true}`, inbox.Subject, snapshotChunk)
	var head answer
	require.NoError(tb, head.read(conn.Request(jetstream.DefaultAPIPrefix+"STREAM.SNAPSHOT."+stream, []byte(request), snapshotWait)))
	file, err := os.Create(path)
	require.NoError(tb, err)
	defer file.Close()
	first, err := json.Marshal(head)
	require.NoError(tb, err)
	_, err = file.Write(append(first, '\n'))
	require.NoError(tb, err)
	for {
		chunk, err := inbox.NextMsg(snapshotWait)
		require.NoError(tb, err)
		if len(chunk.Data) == 0 {
			require.Contains(tb, []string{"", "204"}, chunk.Header.Get("Status"), chunk.Header.Get("Description"))
			return
		}
		_, err = file.Write(chunk.Data)
		require.NoError(tb, err)
		if chunk.Reply != "" { // the server waits for it
			require.NoError(tb, chunk.Respond(nil))
		}
	}
}

// RestoreStream makes a stream again from such a file, as `nats stream restore` does.
func RestoreStream(tb testing.TB, url, stream, path string) {
	tb.Helper()
	conn, err := nats.Connect(url)
	require.NoError(tb, err)
	defer conn.Close()
	file, err := os.Open(path)
	require.NoError(tb, err)
	defer file.Close()
	content := bufio.NewReader(file)
	first, err := content.ReadBytes('\n')
	require.NoError(tb, err)
	var head, started, done answer
	require.NoError(tb, json.Unmarshal(first, &head))
	request, err := json.Marshal(map[string]json.RawMessage{"config": head.Config, "state": head.State})
	require.NoError(tb, err)
	require.NoError(tb, started.read(conn.Request(jetstream.DefaultAPIPrefix+"STREAM.RESTORE."+stream, request, snapshotWait)))
	chunk := make([]byte, snapshotChunk)
	for {
		n, err := io.ReadFull(content, chunk)
		if n > 0 {
			_, failure := conn.Request(started.DeliverSubject, chunk[:n], snapshotWait)
			require.NoError(tb, failure)
		}
		if err != nil {
			break // the file's end
		}
	}
	require.NoError(tb, done.read(conn.Request(started.DeliverSubject, nil, snapshotWait)))
}
