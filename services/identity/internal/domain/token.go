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

// Grant is what a personal access token may do at most: never more than its member may at the time.
type Grant struct {
	Scopes []string
	// Unlimited stands for every scope that the member has, now and later; Scopes is empty then.
	Unlimited bool
	// Operator says that the token may act on the installation.
	Operator bool
}

// IssueToken gives a member a personal access token. The zero time means that it does not expire.
func IssueToken(id, member, title string, grant Grant, expires, now time.Time) ([]proto.Message, error) {
	var fields problem.Fields
	checkTitle("title", title, &fields)
	if len(grant.Scopes) == 0 && !grant.Unlimited && !grant.Operator {
		fields.Add("scopes", "is empty: the token could do nothing; give some of %v", AllScopes())
	}
	for _, scope := range grant.Scopes {
		if !slices.Contains(AllScopes(), scope) {
			fields.Add("scopes", "%q is not a scope; want some of %v", scope, AllScopes())
		}
	}
	checkExpiry("expiresAt", expires, now, &fields)
	if err := fields.Err("token-invalid", "The token is not valid."); err != nil {
		return nil, err
	}
	return []proto.Message{&identityv1.TokenIssued{
		Token: id, Member: member, Title: title, Scopes: grant.Scopes, ExpiresAt: unixOrZero(expires),
		Unlimited: &grant.Unlimited, Operator: &grant.Operator,
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
