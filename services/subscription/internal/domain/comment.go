package domain

import (
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

// Bounds of comments, so that a subscription can be shown with all of them.
const (
	MaxComments = 200
	maxComment  = 4000 // bytes
)

// Comment adds a remark, in any state.
func (s Subscription) Comment(text string) ([]proto.Message, error) {
	if err := s.checkComment(&text, true); err != nil {
		return nil, err
	}
	return []proto.Message{&subscriptionv1.SubscriptionCommented{Subscription: s.ID, Comment: text}}, nil
}

// checkComment takes the white space around a comment off.
func (s Subscription) checkComment(text *string, required bool) error {
	*text = strings.TrimSpace(*text)
	invalid := func(message string) error {
		return problem.NewInvalid("comment-invalid", "The comment is not valid.").With(problem.Field{Path: "comment", Message: message})
	}
	switch {
	case *text == "" && required:
		return invalid("is empty; say something")
	case *text == "":
		return nil
	case len(*text) > maxComment:
		return invalid("is longer than 4000 bytes")
	case !utf8.ValidString(*text) || strings.ContainsRune(*text, 0):
		return invalid("is not text in UTF-8")
	case s.Comments >= MaxComments:
		return problem.NewConflict("comments-full", "The subscription %s has %d comments, which is the most.", s.Name, MaxComments)
	}
	return nil
}
