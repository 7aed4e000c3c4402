package identity_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/seal"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
)

// open opens the service's database.
func (f fixture) open(t *testing.T) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: f.database})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

func (p people) requestReset(email string) servicetest.Answer {
	return p.Client("").Do("POST", "/identity/v1/password-resets", map[string]string{"tenant": "main", "email": email})
}

func (p people) confirmReset(token, password string) int {
	return p.Client("").Do("POST", "/identity/v1/password-resets/confirm", map[string]string{"token": token, "password": password}).Status
}

// One request that cannot be answered holds up no other.
func TestPasswordResetsAreNotHeldUp(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	p.join(t, p.admin, "/identity/v1/invitations", "robin@example.com", "viewer")
	for _, bad := range []string{
		`{"tenant":"main","email":"a\u0000b"}`, `{"tenant":"main","email":"a\u0000b@example.com"}`, `{"tenant":"main","email":"robin"}`,
		`{"tenant":"ma\u0000in","email":"robin@example.com"}`, `{"tenant":"","email":"robin@example.com"}`, `{"tenant":"main","email":""}`,
	} {
		require.Equal(t, 400, p.Client("").Do("POST", "/identity/v1/password-resets", bad).Status, bad)
	}

	// Nor does one that was taken before requests were checked; it is the oldest.
	s, err := seal.New(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	require.NoError(t, err)
	_, err = p.open(t).Pool().Exec(t.Context(), `INSERT INTO password_reset_requests (id, tenant_name, email) VALUES ('0', 'main', $1)`, s.Close("0", []byte("a\x00b")))
	require.NoError(t, err)
	require.Equal(t, 204, p.requestReset("robin@example.com").Status)
	require.Equal(t, 204, p.confirmReset(tokenIn(t, p.mailTo(t, "robin@example.com", 2)), "seven orange bicycles rest"))
	testkit.Await(t, patience, func() bool { return len(p.resets(t)) == 0 })
}

// A mail that was sent is no way in any more once the member has another password or another address.
func TestPasswordResetsEnd(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	id := p.join(t, p.admin, "/identity/v1/invitations", "robin@example.com", "viewer")
	const other = "seven orange bicycles rest"
	require.Equal(t, 204, p.requestReset("robin@example.com").Status)
	token := tokenIn(t, p.mailTo(t, "robin@example.com", 2))
	robin, _ := p.signIn(t, "robin@example.com", goodPassword, "")
	robin.Must("PUT", "/identity/v1/me/password", fmt.Sprintf(`{"current":%q,"password":%q}`, goodPassword, other), nil)
	require.Equal(t, 404, p.confirmReset(token, goodPassword), "the password was changed")

	require.Equal(t, 204, p.requestReset("robin@example.com").Status)
	token = tokenIn(t, p.mailTo(t, "robin@example.com", 3))
	p.admin.Must("PUT", "/identity/v1/members/"+id, `{"displayName":"Robin","email":"robin@example.com"}`, nil)
	p.admin.Must("PUT", "/identity/v1/members/"+id, `{"displayName":"Robin","email":"robin@new.example"}`, nil)
	require.Equal(t, 404, p.confirmReset(token, goodPassword), "the address was changed")
	p.signIn(t, "robin@new.example", other, "")

	p.admin.Must("PUT", "/identity/v1/members/"+id, `{"displayName":"Robin","email":"robin@new.example"}`, nil)
	require.Equal(t, 204, p.requestReset("robin@new.example").Status)
	token = tokenIn(t, p.mailTo(t, "robin@new.example", 1))
	p.admin.Must("PUT", "/identity/v1/members/"+id, `{"displayName":"Robin Doe","email":"robin@new.example"}`, nil)
	require.Equal(t, 204, p.confirmReset(token, goodPassword), "another name changes nothing of it")
}

// A sign-in with the old password, while another one is being set, leaves no session behind.
func TestASignInDuringAChangeOfThePassword(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	id := p.join(t, p.admin, "/identity/v1/invitations", "robin@example.com", "viewer")
	answers := make(chan servicetest.Answer, 1)
	require.NoError(t, p.open(t).InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		// What PUT /me/password does, up to its commit.
		_, err := tx.Exec(t.Context(), `UPDATE authenticators SET password = 'another' WHERE member_id = $1`, id)
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), `DELETE FROM sessions WHERE member_id = $1`, id)
		require.NoError(t, err)
		go func() { answers <- p.trySignIn("robin@example.com", goodPassword, "") }()
		waits := func() (n int) {
			err := p.open(t).Pool().QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n)
			require.NoError(t, err)
			return n
		}
		testkit.Await(t, patience, func() bool { return waits() > 0 || len(answers) > 0 })
		return nil
	}))
	answer := <-answers
	require.Equal(t, 401, answer.Status, answer.Body)
	var sessions int
	require.NoError(t, p.open(t).InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM sessions WHERE member_id = $1`, id).Scan(&sessions)
	}))
	require.Zero(t, sessions)
}

// Who cannot sign in any more uses up nothing that others need.
func TestARefusedAttemptTakesNothing(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	p.join(t, p.admin, "/identity/v1/invitations", "robin@example.com", "viewer")
	from := func(email, password string) int {
		return p.Client("").From("192.0.2.7:4711").Do("POST", "/identity/v1/sessions", map[string]string{"tenant": "main", "email": email, "password": password}).Status
	}
	for n := range 30 {
		require.Equal(t, 401, from(fmt.Sprintf("nobody%d@example.com", n), "a wrong password here"))
	}
	for range 20 {
		require.Equal(t, 429, from("robin@example.com", "a wrong password here"), "the address has used up its attempts")
	}
	p.advance(3 * time.Second)
	require.Equal(t, 201, from("robin@example.com", goodPassword), "and Robin none")
}
