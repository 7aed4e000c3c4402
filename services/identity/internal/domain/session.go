package domain

import (
	"google.golang.org/protobuf/proto"

	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// Session is a time during which a member is signed in.
type Session struct {
	ID, Member, Method string
	Ended              bool
}

// Evolve applies an event.
func (s Session) Evolve(event proto.Message) Session {
	switch e := event.(type) {
	case *identityv1.SessionStarted:
		return Session{ID: e.GetSession(), Member: e.GetMember(), Method: e.GetMethod()}
	case *identityv1.SessionEnded:
		s.Ended = true
	}
	return s
}

// End makes the session void.
func (s Session) End(cause string) []proto.Message {
	if s.ID == "" || s.Ended {
		return nil
	}
	return []proto.Message{&identityv1.SessionEnded{Session: s.ID, Cause: cause}}
}
