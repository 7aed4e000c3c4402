package domain

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// Token is a personal access token of a member.
type Token struct {
	ID, Member string
	Revoked    bool
}

// Evolve applies an event.
func (t Token) Evolve(event proto.Message) Token {
	switch e := event.(type) {
	case *identityv1.TokenIssued:
		return Token{ID: e.GetToken(), Member: e.GetMember()}
	case *identityv1.TokenRevoked:
		t.Revoked = true
	}
	return t
}

// IssueToken gives a member a personal access token that may do at most scopes (all that the member may, when empty). The
// zero time means that it does not expire.
func IssueToken(id, member, title string, scopes []string, expires, now time.Time) ([]proto.Message, error) {
	var fields problem.Fields
	checkTitle("title", title, &fields)
	for _, scope := range scopes {
		if !slices.Contains(AllScopes(), scope) {
			fields.Add("scopes", "%q is not a scope; want some of %v", scope, AllScopes())
		}
	}
	checkExpiry("expiresAt", expires, now, &fields)
	if err := fields.Err("token-invalid", "The token is not valid."); err != nil {
		return nil, err
	}
	return []proto.Message{&identityv1.TokenIssued{
		Token: id, Member: member, Title: title, Scopes: scopes, ExpiresAt: unixOrZero(expires),
	}}, nil
}

// Revoke makes the token void.
func (t Token) Revoke() ([]proto.Message, error) {
	switch {
	case t.ID == "":
		return nil, problem.NewNotFound("token-not-found", "There is no such token.")
	case t.Revoked:
		return nil, nil
	}
	return []proto.Message{&identityv1.TokenRevoked{Token: t.ID}}, nil
}

func checkExpiry(path string, expires, now time.Time, fields *problem.Fields) {
	if !expires.IsZero() && !expires.After(now) {
		fields.Add(path, "%s has passed; give a time to come", expires.UTC().Format(time.RFC3339))
	}
}

func unixOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
