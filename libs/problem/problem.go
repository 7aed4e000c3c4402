// Package problem owns the kinds of errors that Tollgate knows and the document that a client is shown of one.
//
// The domain returns an *Error of some Kind and knows no transport. The edge turns any error into a Document, the
// problem detail of RFC 9457, in one place: From. What is not an *Error is shown as an internal error without its
// text, so that no statement, address or secret leaks.
//
// Any package may import it. Values are safe to share once built.
package problem

import (
	"errors"
	"fmt"
)

// Kind classifies an error by what its receiver can do about it.
type Kind uint8

// The kinds. The zero value is Internal: an error that nobody classified is the server's fault.
const (
	Internal         Kind = iota // the server's fault; nothing the caller can change
	Invalid                      // the request is wrong; it says where
	Unauthenticated              // no or no valid credential
	Denied                       // authenticated, but not allowed
	NotFound                     // no such thing, or not visible to the caller
	Conflict                     // the state does not allow it
	Exhausted                    // a limit or quota is used up
	TooLarge                     // the request is over a stated size
	UnsupportedMedia             // the request's body is of a media type that is not taken
	Unavailable                  // a dependency is down; trying again later may help
	Timeout                      // it took longer than allowed
)

// Field is one thing that is wrong in a request.
type Field struct {
	// Path of the field, as in "prices[1].tiers[0].upTo"; empty for the request as a whole.
	Path string `json:"path"`
	// Message says what was wrong and what would be right.
	Message string `json:"message"`
}

// Error is an error of a known kind. Code is a stable slug that clients may switch on; Message is for people.
type Error struct {
	Kind    Kind
	Code    string
	Message string
	Fields  []Field
	cause   error
}

func newError(kind Kind, code, format string, args []any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// NewInvalid returns an error of kind Invalid.
func NewInvalid(code, format string, args ...any) *Error {
	return newError(Invalid, code, format, args)
}

// NewUnauthenticated returns an error of kind Unauthenticated.
func NewUnauthenticated(code, format string, args ...any) *Error {
	return newError(Unauthenticated, code, format, args)
}

// NewDenied returns an error of kind Denied.
func NewDenied(code, format string, args ...any) *Error {
	return newError(Denied, code, format, args)
}

// NewNotFound returns an error of kind NotFound.
func NewNotFound(code, format string, args ...any) *Error {
	return newError(NotFound, code, format, args)
}

// NewConflict returns an error of kind Conflict.
func NewConflict(code, format string, args ...any) *Error {
	return newError(Conflict, code, format, args)
}

// NewExhausted returns an error of kind Exhausted.
func NewExhausted(code, format string, args ...any) *Error {
	return newError(Exhausted, code, format, args)
}

// NewTooLarge returns an error of kind TooLarge.
func NewTooLarge(code, format string, args ...any) *Error {
	return newError(TooLarge, code, format, args)
}

// NewUnsupportedMedia returns an error of kind UnsupportedMedia.
func NewUnsupportedMedia(code, format string, args ...any) *Error {
	return newError(UnsupportedMedia, code, format, args)
}

// NewUnavailable returns an error of kind Unavailable.
func NewUnavailable(code, format string, args ...any) *Error {
	return newError(Unavailable, code, format, args)
}

// NewTimeout returns an error of kind Timeout.
func NewTimeout(code, format string, args ...any) *Error {
	return newError(Timeout, code, format, args)
}

// With returns a copy of e that names the fields that are wrong.
func (e *Error) With(fields ...Field) *Error {
	c := *e
	c.Fields = append(append([]Field(nil), e.Fields...), fields...)
	return &c
}

// Wrap returns a copy of e that has cause as its cause. The cause is for logs: clients do not see it.
func (e *Error) Wrap(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Error implements error.
func (e *Error) Error() string {
	text := e.Message
	for _, f := range e.Fields {
		if f.Path == "" {
			text += "; " + f.Message
			continue
		}
		text += "; " + f.Path + ": " + f.Message
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// KindOf returns the kind of err: that of the first *Error in its chain, else Internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Fields collects what is wrong in a request. The zero value is ready for use; it is not safe for concurrent use.
type Fields []Field

// Add notes that the field at path is wrong.
func (f *Fields) Add(path, format string, args ...any) {
	*f = append(*f, Field{Path: path, Message: fmt.Sprintf(format, args...)})
}

// Err returns nil when nothing was noted, else an error of kind Invalid that names every field.
func (f Fields) Err(code, message string) error {
	if len(f) == 0 {
		return nil
	}
	return NewInvalid(code, "%s", message).With(f...)
}
