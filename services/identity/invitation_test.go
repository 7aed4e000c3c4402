package identity_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/services/identity"
)

// What an account's admin, who is not one of the provider's, may have sent in its name is bounded.
func TestInvitationsAreLimited(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	for _, account := range []string{"globex", "initech"} {
		p.application(t, p.admin, account, account+"-app")
	}
	admin := func(account string) *servicetest.Client {
		email := "admin@" + account + ".example"
		p.join(t, p.admin, "/identity/v1/accounts/"+account+"/invitations", email, "admin")
		c, _ := p.signIn(t, email, goodPassword, "")
		return c
	}
	hank, peter := admin("globex"), admin("initech")
	invite := func(by *servicetest.Client, email string) servicetest.Answer {
		return by.Do("POST", "/identity/v1/account/invitations", fmt.Sprintf(`{"email":%q,"roles":["developer"]}`, email))
	}

	// One that is open is enough, also with the address in other letters; the next is for when it has ended.
	var first struct{ ID string }
	answer := invite(hank, "dana@globex.example")
	require.Equal(t, 201, answer.Status, answer.Body)
	answer.Decode(t, &first)
	again := invite(hank, "Dana@Globex.example")
	require.Equal(t, 409, again.Status, again.Body)
	require.Contains(t, again.Body, "invitation-exists")
	require.Equal(t, 201, invite(peter, "dana@globex.example").Status, "which says nothing of what other accounts do")
	hank.Must("DELETE", "/identity/v1/account/invitations/"+first.ID, nil, nil)
	require.Equal(t, 201, invite(hank, "dana@globex.example").Status)

	// Nobody is sent mail after mail.
	statuses := map[int]int{}
	var list operation.List[struct{ ID string }]
	for range 6 {
		hank.Must("GET", "/identity/v1/account/invitations", nil, &list)
		for _, i := range list.Items {
			hank.Must("DELETE", "/identity/v1/account/invitations/"+i.ID, nil, nil)
		}
		answer = invite(hank, "dana@globex.example")
		statuses[answer.Status]++
	}
	require.Equal(t, map[int]int{201: 2, 429: 4}, statuses, "five to one address, with the three before")
	require.Regexp(t, `^[0-9]+$`, answer.Header.Get("Retry-After"))

	// An account has so many, and others have theirs.
	sent := 0
	for ; sent < 50; sent++ {
		if answer = invite(hank, fmt.Sprintf("friend%d@globex.example", sent)); answer.Status != 201 {
			break
		}
	}
	require.Equal(t, 429, answer.Status, answer.Body)
	require.Less(t, sent, 20)
	require.Equal(t, 201, invite(peter, "pam@initech.example").Status)
	require.Equal(t, 201, p.admin.Do("POST", "/identity/v1/invitations", `{"email":"robin@example.com","roles":["viewer"]}`).Status)
	p.advance(time.Hour)
	hank, _ = p.signIn(t, "admin@globex.example", goodPassword, "")
	require.Equal(t, 201, invite(hank, "later@globex.example").Status)

	// An invitation that has expired is none that is open.
	p.advance(8 * 24 * time.Hour)
	hank, _ = p.signIn(t, "admin@globex.example", goodPassword, "")
	require.Equal(t, 201, invite(hank, "later@globex.example").Status)
}

// Who is removed leaves nothing that erasing could not find again: no invitation, mail or answer with the address.
func TestRemovedMembersLeaveNoAddress(t *testing.T) {
	t.Parallel()
	p := startPeopleWith(t, func(c *identity.Config) { c.Notify.MailURL = "" }) // mail waits, with addresses in it
	var kim issued
	p.admin.Must("POST", "/identity/v1/members", `{"displayName":"Kimberly Quux","email":"kim.quux@globex.example","roles":["viewer"]}`, &kim, "Idempotency-Key", "add")
	p.admin.Must("POST", "/identity/v1/invitations", `{"email":"Kim.Quux@globex.example","roles":["viewer"]}`, nil, "Idempotency-Key", "invite")
	p.admin.Must("POST", "/identity/v1/invitations", `{"email":"sam@globex.example","roles":["viewer"]}`, nil, "Idempotency-Key", "other")
	require.Equal(t, 204, p.requestReset("kim.quux@globex.example").Status)
	require.Eventually(t, func() bool { return len(p.resets(t)) == 0 }, patience, 50*time.Millisecond, "the worker has mailed the reset")
	require.Subset(t, p.found(t, "kim.quux"), []string{"public.commands", "public.invitations", "public.members"})

	p.admin.Must("DELETE", "/identity/v1/members/"+kim.ID, nil, nil)
	require.Empty(t, p.found(t, "kim.quux"))
	var open operation.List[struct{ Email string }]
	p.admin.Must("GET", "/identity/v1/invitations", nil, &open)
	require.Len(t, open.Items, 1)
	require.Equal(t, "sam@globex.example", open.Items[0].Email)
	require.Len(t, deliveries(t, p.fixture), 1, "of the mails, that to another one")

	p.admin.Must("POST", "/identity/v1/members/"+kim.ID+"/erase", nil, nil)
	for _, needle := range []string{"kim.quux", "kimberly", "quux"} {
		require.Empty(t, p.found(t, needle), needle)
	}
}
