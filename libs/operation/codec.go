package operation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tollgate/tollgate/libs/problem"
)

// MaxBody is the largest request body, in bytes.
const MaxBody = 12 << 20

// decoder returns go-kit's DecodeRequestFunc for an operation.
func decoder(d definition) func(context.Context, *http.Request) (any, error) {
	hasBody := bodyFields(d.request)
	return func(_ context.Context, r *http.Request) (any, error) {
		value := reflect.New(d.request)
		if hasBody {
			if err := decodeBody(r, value.Interface()); err != nil {
				return nil, err
			}
		}
		var fields problem.Fields
		bind(r, value.Elem(), &fields)
		if err := fields.Err("request-invalid", "The request is not valid."); err != nil {
			return nil, err
		}
		return value.Interface(), nil
	}
}

func bodyFields(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && bodyFields(f.Type) {
			return true
		}
		if name := tagName(f, "json"); name != "" && name != "-" {
			return true
		}
	}
	return false
}

func decodeBody(r *http.Request, into any) error {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if media = strings.TrimSpace(media); media != "" && media != "application/json" {
		return problem.NewInvalid("content-type", "The body is %s; want application/json.", media)
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
	return nil
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
	text := values[0]
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		fields.Add(name, "is not text in UTF-8 without the character U+0000")
		return
	}
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
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			fields.Add(name, "%q is not a whole number", text)
		}
		v.SetInt(n)
	case reflect.Uint64, reflect.Uint32:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			fields.Add(name, "%q is not a whole number from 0 up", text)
		}
		v.SetUint(n)
	case reflect.Slice:
		v.Set(reflect.ValueOf(values))
	default:
		fields.Add(name, "cannot be given")
	}
}

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
			w.Header().Set("Content-Type", raw.ContentType)
			w.WriteHeader(d.status)
			_, _ = w.Write(raw.Body)
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
}

func encodeError(_ context.Context, err error, w http.ResponseWriter) {
	WriteProblem(w, problem.From(err))
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
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(doc.Status)
	_, _ = w.Write(append(body, '\n'))
}
