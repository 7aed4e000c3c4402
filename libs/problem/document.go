package problem

import (
	"errors"
	"net/http"
)

// ContentType is the media type of a Document (RFC 9457, section 3).
const ContentType = "application/problem+json"

// TypePrefix comes before the code in a Document's type.
const TypePrefix = "urn:tollgate:problem:"

// Document is a problem detail (RFC 9457, section 3.1) with the extension members code and errors.
type Document struct {
	Type     string  `json:"type"`
	Title    string  `json:"title"`
	Status   int     `json:"status"`
	Detail   string  `json:"detail,omitempty"`
	Instance string  `json:"instance,omitempty"`
	Code     string  `json:"code"`
	Errors   []Field `json:"errors,omitempty"`
}

var statuses = map[Kind]int{
	Internal:         http.StatusInternalServerError,
	Invalid:          http.StatusBadRequest,
	Unauthenticated:  http.StatusUnauthorized,
	Denied:           http.StatusForbidden,
	NotFound:         http.StatusNotFound,
	Conflict:         http.StatusConflict,
	Exhausted:        http.StatusTooManyRequests,
	TooLarge:         http.StatusRequestEntityTooLarge,
	UnsupportedMedia: http.StatusUnsupportedMediaType,
	Unavailable:      http.StatusServiceUnavailable,
	Timeout:          http.StatusGatewayTimeout,
}

// Status returns the HTTP status of a kind.
func (k Kind) Status() int { return statuses[k] }

// From returns what a client may see of err.
func From(err error) Document {
	var e *Error
	if !errors.As(err, &e) || e.Kind == Internal {
		return Document{
			Type:   TypePrefix + "internal",
			Title:  http.StatusText(http.StatusInternalServerError),
			Status: http.StatusInternalServerError,
			Detail: "The server could not do this. The request can be tried again; if it goes on, the operator finds the cause under the request's trace id.",
			Code:   "internal",
		}
	}
	status := e.Kind.Status()
	return Document{
		Type:   TypePrefix + e.Code,
		Title:  http.StatusText(status),
		Status: status,
		Detail: e.Message,
		Code:   e.Code,
		Errors: e.Fields,
	}
}

// ToError is the reverse of From, for clients: it turns a document that came over the wire into an *Error.
func (d Document) ToError() *Error {
	kind := Internal
	for k, status := range statuses {
		if status == d.Status {
			kind = k
		}
	}
	return &Error{Kind: kind, Code: d.Code, Message: d.Detail, Fields: d.Errors}
}
