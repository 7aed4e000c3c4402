package eventlog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// FuzzEnvelope decodes what a message of a replica may hold. What decodes must come back the same.
func FuzzEnvelope(f *testing.F) {
	raw, err := proto.Marshal(timestamppb.New(time.Unix(1, 2)))
	require.NoError(f, err)
	for _, e := range []Event{
		{},
		{
			ID: "018f", Log: "catalog", Epoch: 1, Position: 7, StreamType: "api", StreamID: "weather", Version: 3,
			Type: "google.protobuf.Timestamp", Raw: raw, Tenant: "acme", Actor: "member:m1", RecordedAt: time.Unix(5, 6000).UTC(),
		},
		{Type: "no.such.Type", Raw: []byte{0xff}},
		{Type: "google.protobuf.Timestamp", Raw: []byte{0xff}},
	} {
		data, err := e.marshal()
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := unmarshal(data)
		if err != nil {
			return
		}
		again, err := e.marshal()
		require.NoError(t, err)
		back, err := unmarshal(again)
		require.NoError(t, err)
		require.Equal(t, e, back)
		same, err := equal(&e, again)
		require.NoError(t, err)
		require.True(t, same)
		if e.decode() == nil {
			require.NotNil(t, e.Payload)
		}
	})
}
