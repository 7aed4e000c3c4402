package operation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tollgate/tollgate/libs/problem"
)

// MaxBody is the largest request body, in bytes.
const MaxBody = 12 << 20

// undecoded is a request that has not been read: the chain reads it once it knows that the caller may make it.
type undecoded func() (any, error)

// decoder returns go-kit's DecodeRequestFunc for an operation. What that returns is undecoded.
func decoder(d definition) func(context.Context, *http.Request) (any, error) {
	decode := requestDecoder(d)
	return func(_ context.Context, r *http.Request) (any, error) {
		return undecoded(func() (any, error) { return decode(r) }), nil
	}
}

func requestDecoder(d definition) func(*http.Request) (any, error) {
	hasBody, hasForm := bodyFields(d.request, "json"), bodyFields(d.request, "formData")
	return func(r *http.Request) (any, error) {
		value := reflect.New(d.request)
		var fields problem.Fields
		switch {
		case hasForm:
			form, err := readForm(r)
			if err != nil {
				return nil, err
			}
			bindForm(form, value.Elem(), &fields)
		case hasBody:
			if err := decodeBody(r, value.Interface()); err != nil {
				return nil, err
			}
		}
		bind(r, value.Elem(), &fields)
		if err := fields.Err("request-invalid", "The request is not valid."); err != nil {
			return nil, err
		}
		return value.Interface(), nil
	}
}

func bodyFields(t reflect.Type, tag string) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && bodyFields(f.Type, tag) {
			return true
		}
		if name := tagName(f, tag); name != "" && name != "-" {
			return true
		}
	}
	return false
}

func decodeBody(r *http.Request, into any) error {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if media = strings.TrimSpace(media); media != "" && media != "application/json" {
		return problem.NewUnsupportedMedia("content-type", "The body is %s; want application/json.", media)
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	if err != nil {
		return problem.NewInvalid("request-invalid", "The body could not be read.").Wrap(err)
	}
	if len(data) > MaxBody {
		return problem.NewTooLarge("body-too-large", "The body is over %d MiB.", MaxBody>>20)
	}
	if len(data) == 0 {
		data = []byte("{}")
	}
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return bodyError(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return problem.NewInvalid("request-invalid", "The body goes on after the end of its JSON value.")
	}
	if at := escapedNUL(data); at >= 0 {
		return problem.NewInvalid("request-invalid", "The body is not valid.").With(
			problem.Field{Message: fmt.Sprintf("contains the character U+0000, at byte %d; leave it out", at+1)})
	}
	return nil
}

// escapedNUL returns where a JSON value has the character U+0000, which no database takes in a text, or -1. It can only be there
// escaped (RFC 8259, section 7).
func escapedNUL(data []byte) int {
	escape := []byte(`u0000`)
	for i := 0; ; i += 2 { // what is escaped may be a backslash itself
		next := bytes.IndexByte(data[i:], '\\')
		if next < 0 {
			return -1
		}
		if i += next; bytes.HasPrefix(data[i+1:], escape) {
			return i
		}
	}
}

func bodyError(err error) error {
	var known *problem.Error
	if errors.As(err, &known) {
		return known
	}
	invalid := problem.NewInvalid("request-invalid", "The body is not valid.")
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrongType):
		return invalid.With(problem.Field{Path: wrongType.Field, Message: fmt.Sprintf("is a JSON %s; want %s", wrongType.Value, wrongType.Type)})
	case errors.As(err, &syntax):
		return invalid.With(problem.Field{Message: fmt.Sprintf("is not JSON: %s at byte %d", syntax, syntax.Offset)})
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		name := strings.Trim(strings.TrimPrefix(err.Error(), "json: unknown field "), `"`)
		return invalid.With(problem.Field{Path: name, Message: "is not a field of this request"})
	default:
		return invalid.With(problem.Field{Message: "is not complete JSON"})
	}
}

// bind fills the fields tagged path, query and header.
func bind(r *http.Request, v reflect.Value, fields *problem.Fields) {
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			bind(r, v.Field(i), fields)
			continue
		}
		if name := tagName(f, "path"); name != "" {
			set(v.Field(i), []string{r.PathValue(name)}, name, fields)
		}
		if name := tagName(f, "query"); name != "" && r.URL.Query().Has(name) {
			set(v.Field(i), r.URL.Query()[name], name, fields)
		}
		if name := tagName(f, "header"); name != "" && r.Header.Get(name) != "" {
			set(v.Field(i), r.Header.Values(name), name, fields)
		}
	}
}

func set(v reflect.Value, values []string, name string, fields *problem.Fields) {
	for _, text := range values {
		if !usable(text) {
			fields.Add(name, "is not text in UTF-8 without the character U+0000")
			return
		}
	}
	text := values[0]
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			fields.Add(name, "%q is not true or false", text)
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			fields.Add(name, "%q is not a whole number of %d bits", text, v.Type().Bits())
			return
		}
		v.SetInt(n)
	case reflect.Uint64, reflect.Uint32:
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			fields.Add(name, "%q is not a whole number from 0 to %d", text, uint64(math.MaxUint64)>>(64-v.Type().Bits()))
			return
		}
		v.SetUint(n)
	case reflect.Slice:
		v.Set(reflect.ValueOf(values))
	default:
		fields.Add(name, "cannot be given")
	}
}

// usable says whether a text is one that a database takes.
func usable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

// allFields returns every field of a request by its Go name, for hashing.
func allFields(request any) (map[string]any, error) {
	v := reflect.Indirect(reflect.ValueOf(request))
	if v.Kind() != reflect.Struct {
		return nil, fmt.Errorf("request is a %s, not a struct", v.Kind())
	}
	all := map[string]any{}
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() {
			all[f.Name] = v.Field(i).Interface()
		}
	}
	return all, nil
}

func (a *API) encoder(d definition) func(context.Context, http.ResponseWriter, any) error {
	return func(ctx context.Context, w http.ResponseWriter, response any) error {
		c := callInfoFrom(ctx)
		if c.position > 0 {
			w.Header().Set(HeaderPosition, a.service+"="+strconv.FormatUint(c.position, 10))
		}
		if c.replayed {
			w.Header().Set(HeaderReplayed, "true")
		}
		if _, empty := response.(Empty); empty {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		if raw, ok := response.(Raw); ok {
			raw.write(w, d.status)
			return nil
		}
		body, err := json.Marshal(response)
		if err != nil {
			return fmt.Errorf("encode response of %s: %w", d.name, err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(d.status)
		_, _ = w.Write(append(body, '\n'))
		return nil
	}
}

// Raw is a response that is not JSON, such as a document as it was taken in.
type Raw struct {
	ContentType string
	Body        []byte
	// Status in place of the operation's; 0 leaves it.
	Status int
	// Header has further fields.
	Header http.Header
}

func (r Raw) write(w http.ResponseWriter, status int) {
	maps.Copy(w.Header(), r.Header)
	if r.ContentType != "" {
		w.Header().Set("Content-Type", r.ContentType)
	}
	if r.Status != 0 {
		status = r.Status
	}
	w.WriteHeader(status)
	_, _ = w.Write(r.Body)
}

// errorEncoder returns go-kit's ErrorEncoder for an operation.
func errorEncoder(d definition) func(context.Context, error, http.ResponseWriter) {
	return func(_ context.Context, err error, w http.ResponseWriter) {
		var later *retryAfter
		if errors.As(err, &later) {
			w.Header().Set("Retry-After", strconv.FormatInt(later.seconds(), 10))
		}
		doc := problem.From(err)
		if d.failure != nil {
			d.failure(err).write(w, doc.Status)
			return
		}
		WriteProblem(w, doc)
	}
}

// RetryAfter tells the client when to try again, in the header Retry-After (RFC 9110, section 10.2.3) of the error's answer.
func RetryAfter(err error, wait time.Duration) error {
	return &retryAfter{err, wait}
}

type retryAfter struct {
	error
	wait time.Duration
}

func (r *retryAfter) Unwrap() error { return r.error }

// seconds are rounded up: a client that comes a moment too early would be refused again.
func (r *retryAfter) seconds() int64 {
	return max(1, int64((r.wait+time.Second-1)/time.Second))
}

// WriteProblem writes a problem document as the response.
func WriteProblem(w http.ResponseWriter, doc problem.Document) {
	body, err := json.Marshal(doc)
	if err != nil {
		body = []byte(`{"type":"urn:tollgate:problem:internal","status":500}`)
	}
	w.Header().Set("Content-Type", problem.ContentType)
	switch doc.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="tollgate"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if w.Header().Get("Retry-After") == "" {
			w.Header().Set("Retry-After", "1")
		}
	}
	w.WriteHeader(doc.Status)
	_, _ = w.Write(append(body, '\n'))
}
