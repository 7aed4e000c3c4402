package operation

import (
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/tollgate/tollgate/libs/problem"
)

// maxForm is the largest form, in bytes.
const maxForm = 64 << 10

// readForm reads a body of the type application/x-www-form-urlencoded. Parameters in the query are none of its fields:
// secrets must not be sent there (RFC 6749, section 2.3.1).
func readForm(r *http.Request) (url.Values, error) {
	const formType = "application/x-www-form-urlencoded"
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if media = strings.ToLower(strings.TrimSpace(media)); media != formType {
		// Forms are OAuth's: a request of another type is an invalid_request, status 400 (RFC 6749, section 5.2).
		return nil, problem.NewInvalid("content-type", "The body is %q; want %s.", media, formType)
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	if err != nil {
		return nil, problem.NewInvalid("request-invalid", "The body could not be read.").Wrap(err)
	}
	if len(data) > maxForm {
		return nil, problem.NewTooLarge("body-too-large", "The form is over %d KiB.", maxForm>>10)
	}
	form, err := url.ParseQuery(string(data))
	if err != nil {
		return nil, problem.NewInvalid("request-invalid", "The body is not a form: want name=value&name=value, percent-encoded.")
	}
	return form, nil
}

// bindForm fills the fields tagged formData. A field that is no list may be there once (RFC 6749, section 3.2).
func bindForm(form url.Values, v reflect.Value, fields *problem.Fields) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			bindForm(form, v.Field(i), fields)
			continue
		}
		name := tagName(f, "formData")
		if name == "" || !form.Has(name) {
			continue
		}
		if len(form[name]) > 1 && f.Type.Kind() != reflect.Slice {
			fields.Add(name, "is there %d times; give it once", len(form[name]))
			continue
		}
		set(v.Field(i), form[name], name, fields)
	}
}
