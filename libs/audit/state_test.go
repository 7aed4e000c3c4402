package audit

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

type credential struct {
	ID, ClientID string
	Expires      time.Time
}

type application struct {
	Name        string
	Deleted     bool
	Credentials map[string]credential
	Roles       []string
	Parent      *credential
	Spec        *catalogv1.PlanSpec
	internal    string
}

func TestStatesAreShownAsJSON(t *testing.T) {
	t.Parallel()
	state := application{
		Name: "app", Roles: []string{"a"}, internal: "hidden", Parent: &credential{ID: "p"},
		Credentials: map[string]credential{"KEY": {ID: "c1", ClientID: "x", Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}},
		Spec:        &catalogv1.PlanSpec{Maximum: "5"},
	}
	require.Equal(t, "hidden", state.internal)
	encoded, err := encodeState(state)
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"app","roles":["a"],"parent":{"id":"p"},"spec":{"maximum":"5"},
		"credentials":{"KEY":{"id":"c1","clientId":"x","expires":"2027-01-01T00:00:00Z"}}}`, string(encoded))
	encoded, err = encodeState(nil)
	require.NoError(t, err)
	require.Nil(t, encoded)
	require.Nil(t, Of(func(s int, _ proto.Message) int { return s + 1 })(nil))
	require.Equal(t, 2, Of(func(s int, _ proto.Message) int { return s + 1 })([]proto.Message{nil, nil}))
}

func TestHashesAreNotShown(t *testing.T) {
	t.Parallel()
	event := &identityv1.CredentialIssued{Credential: "c1", KeySha256: []byte{1, 2, 3}}
	require.JSONEq(t, `{"credential":"c1"}`, string(message(event)))
	require.Len(t, event.GetKeySha256(), 3, "the event itself stays")
	require.Nil(t, message(nil))
}

func TestCamelCase(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"ID": "id", "Name": "name", "ClientID": "clientId", "SHA256": "sha256", "TOTPStep": "totpStep", "A": "a", "": "", "URLOfX": "urlOfX",
	} {
		require.Equal(t, want, camel(name))
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[A-Z][A-Za-z0-9]{0,20}`).Draw(t, "name")
		require.Len(t, camel(name), len(name))
	})
}

func TestCellsAreNoFormulas(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "plain": "plain", "=1+1": "'=1+1", "@x": "'@x", "-5": "'-5", "\tx": "'\tx"} {
		require.Equal(t, want, cell(text))
	}
	body, err := commaSeparated([]Entry{{Reason: "a,\"b\"\nc", Data: json.RawMessage(`{"x":1}`)}})
	require.NoError(t, err)
	require.Contains(t, string(body), `"a,""b""`)
}
