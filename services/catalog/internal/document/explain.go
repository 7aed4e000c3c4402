package document

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// maxLocated is the size up to which a document that is not valid is read once more, to find the lines: it takes several
// times as long.
const maxLocated = 2 << 20

// validationErrors says what is wrong, with lines where the library knows them.
func validationErrors(ctx context.Context, err error, text string, options []openapi3.ValidationOption) []string {
	if len(text) <= maxLocated {
		loader := openapi3.NewLoader()
		loader.IncludeOrigin = true
		if doc, loadErr := loader.LoadFromData([]byte(text)); loadErr == nil {
			if located := doc.Validate(ctx, options...); located != nil {
				err = located
			}
		}
	}
	several := openapi3.MultiError{err}
	_ = errors.As(err, &several)
	var messages []string
	for _, e := range several {
		message := strings.TrimPrefix(e.Error(), "invalid paths: ")
		message = strings.TrimPrefix(message, "invalid components: ")
		message = at(lineOfError(e), message)
		if !slices.Contains(messages, message) {
			messages = append(messages, message)
		}
	}
	return messages
}

// lineOfError returns the line of the innermost error in the chain that knows one. The library's error types have a field
// Origin each and no method for it.
func lineOfError(err error) int {
	line := 0
	for ; err != nil; err = errors.Unwrap(err) {
		v := reflect.Indirect(reflect.ValueOf(err))
		if v.Kind() != reflect.Struct {
			continue
		}
		field := v.FieldByName("Origin")
		if !field.IsValid() || !field.CanInterface() {
			continue
		}
		if origin, ok := field.Interface().(*openapi3.Origin); ok && origin != nil && origin.Key != nil && origin.Key.Line > 0 {
			line = origin.Key.Line
		}
	}
	return line
}
