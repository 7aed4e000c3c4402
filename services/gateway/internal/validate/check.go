package validate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tollgate/tollgate/libs/problem"
)

// maxFields bounds what one answer tells.
const maxFields = 20

// Operation checks the requests of one operation. It is safe for concurrent use.
type Operation struct {
	parameters []*parameter
	body       *body
}

// NeedsBody says whether the check looks at the body.
func (o *Operation) NeedsBody() bool { return o.body != nil }

// Request is what is checked.
type Request struct {
	// Path returns the value of a path parameter, with percent-encodings resolved.
	Path func(name string) (string, bool)
	// Query is as in the request line, without the question mark.
	Query string
	// Header returns a field's first value, nil when there is none.
	Header func(name string) []byte
	// Body is the whole body.
	Body []byte
}

type parameter struct {
	name, in, style   string
	required, explode bool
	allowEmpty, json  bool
	schema            *jsonschema.Schema
	types             kinds
}

type body struct {
	required bool
	media    []mediaType
}

type mediaType struct {
	name   string
	schema *jsonschema.Schema
}

// Check returns what is wrong with a request, nothing when it is right.
func (o *Operation) Check(r *Request) problem.Fields {
	var fields problem.Fields
	for _, p := range o.parameters {
		p.check(r, &fields)
	}
	if o.body != nil {
		o.body.check(r, &fields)
	}
	if len(fields) > maxFields {
		fields = fields[:maxFields]
	}
	return fields
}

func (p *parameter) path() string { return p.in + "." + p.name }

func (p *parameter) check(r *Request, fields *problem.Fields) {
	values, pairs := p.values(r)
	if len(values) == 0 && len(pairs) == 0 {
		if p.required {
			fields.Add(p.path(), "is missing; it is required")
		}
		return
	}
	if p.schema == nil || p.allowEmpty && len(values) == 1 && values[0] == "" {
		return
	}
	candidates, err := p.decode(values, pairs)
	if err != nil {
		fields.Add(p.path(), "%v", err)
		return
	}
	var first error
	for _, value := range candidates {
		err := p.schema.Validate(value)
		if err == nil {
			return
		}
		if first == nil {
			first = err
		}
	}
	explain(p.path(), first, fields)
}

// values returns the texts sent for the parameter, or for a deepObject its pairs.
func (p *parameter) values(r *Request) (values []string, pairs [][2]string) {
	switch p.in {
	case "path":
		if v, ok := r.Path(p.name); ok {
			return []string{v}, nil
		}
	case "header":
		if v := r.Header(p.name); v != nil {
			return []string{string(v)}, nil
		}
	case "cookie":
		return cookies(string(r.Header("Cookie")), p.name), nil
	case "query":
		if r.Query != "" {
			return p.query(r.Query)
		}
	}
	return nil, nil
}

func cookies(header, name string) []string {
	var values []string
	for pair := range strings.SplitSeq(header, ";") {
		if k, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && k == name {
			values = append(values, strings.Trim(v, `"`))
		}
	}
	return values
}

func (p *parameter) query(query string) (values []string, pairs [][2]string) {
	for pair := range strings.SplitSeq(query, "&") {
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(rawKey)
		if err != nil {
			key = rawKey
		}
		if key != p.name && p.style != "deepObject" {
			continue
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			value = rawValue
		}
		if p.style != "deepObject" {
			values = append(values, value)
			continue
		}
		if inner, ok := strings.CutPrefix(key, p.name+"["); ok && strings.HasSuffix(inner, "]") {
			pairs = append(pairs, [2]string{strings.TrimSuffix(inner, "]"), value})
		}
	}
	return values, pairs
}

// decode returns the values that the texts may stand for, the likeliest first.
func (p *parameter) decode(values []string, pairs [][2]string) ([]any, error) {
	if p.json {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(values[0]))
		if err != nil {
			return nil, fmt.Errorf("is not JSON: %w", err)
		}
		return []any{value}, nil
	}
	if p.style == "deepObject" {
		return []any{p.object(pairs)}, nil
	}
	var candidates []any
	if p.types.array || p.types.any && len(values) > 1 {
		candidates = append(candidates, p.array(values))
	}
	if p.types.object && len(values) == 1 {
		candidates = append(candidates, p.object(splitPairs(values[0], p.explode)))
	}
	if len(values) == 1 {
		candidates = append(candidates, scalars(values[0], p.types)...)
	}
	if len(candidates) == 0 {
		return nil, errors.New("occurs more than once; send it once")
	}
	return candidates, nil
}

func (p *parameter) array(values []string) any {
	if p.style != "form" || !p.explode {
		separator := map[string]string{"spaceDelimited": " ", "pipeDelimited": "|"}[p.style]
		if separator == "" {
			separator = ","
		}
		values = strings.Split(values[0], separator)
	}
	items := elementTypes(p.schema)
	array := make([]any, 0, len(values))
	for _, v := range values {
		array = append(array, scalars(v, items)[0])
	}
	return array
}

// object builds an object of pairs; each value gets the type that its property's schema names.
func (p *parameter) object(pairs [][2]string) any {
	object := make(map[string]any, len(pairs))
	for _, pair := range pairs {
		types := kinds{any: true}
		if property, ok := p.schema.Properties[pair[0]]; ok {
			types = typesOf(property, 0)
		}
		object[pair[0]] = scalars(pair[1], types)[0]
	}
	return object
}

func splitPairs(text string, explode bool) [][2]string {
	parts := strings.Split(text, ",")
	var pairs [][2]string
	if explode {
		for _, part := range parts {
			k, v, _ := strings.Cut(part, "=")
			pairs = append(pairs, [2]string{k, v})
		}
		return pairs
	}
	for pair := range slices.Chunk(parts, 2) {
		if len(pair) == 2 {
			pairs = append(pairs, [2]string{pair[0], pair[1]})
		}
	}
	return pairs
}

func elementTypes(s *jsonschema.Schema) kinds {
	for range 16 {
		if s == nil {
			break
		}
		if s.Items2020 != nil {
			return typesOf(s.Items2020, 0)
		}
		s = s.Ref
	}
	return kinds{any: true}
}

// scalars returns what a text may stand for: never nothing.
func scalars(text string, k kinds) []any {
	var values []any
	if (k.number || k.any) && isNumber(text) {
		values = append(values, json.Number(text))
	}
	if (k.boolean || k.any) && (text == "true" || text == "false") {
		values = append(values, text == "true")
	}
	if k.text || k.any || len(values) == 0 {
		values = append(values, text)
	}
	return values
}

func isNumber(text string) bool {
	if text == "" || strings.TrimLeft(text, "-0123456789.eE+") != "" || text[0] == '+' || text[0] == '.' {
		return false
	}
	return json.Valid([]byte(text))
}

func (b *body) check(r *Request, fields *problem.Fields) {
	if len(r.Body) == 0 {
		if b.required {
			fields.Add("body", "is missing; send %s", b.names())
		}
		return
	}
	sent, _, _ := strings.Cut(string(r.Header("Content-Type")), ";")
	sent = strings.ToLower(strings.TrimSpace(sent))
	i := slices.IndexFunc(b.media, func(m mediaType) bool { return m.matches(sent) })
	if i < 0 {
		fields.Add("header.Content-Type", "%q is not taken; send %s", sent, b.names())
		return
	}
	m := b.media[i]
	if m.schema == nil {
		return
	}
	if coding := string(r.Header("Content-Encoding")); coding != "" && !strings.EqualFold(coding, "identity") {
		fields.Add("header.Content-Encoding", "%q cannot be checked; send the body without a content coding", coding)
		return
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.Body))
	if err != nil {
		fields.Add("body", "is not JSON: %v", err)
		return
	}
	if err := m.schema.Validate(value); err != nil {
		explain("body", err, fields)
	}
}

func (b *body) names() string {
	names := make([]string, len(b.media))
	for i, m := range b.media {
		names[i] = m.name
	}
	return strings.Join(names, " or ")
}

func (m mediaType) matches(sent string) bool {
	if m.name == sent || m.name == "*/*" {
		return true
	}
	prefix, wild := strings.CutSuffix(m.name, "*")
	return wild && strings.HasPrefix(sent, prefix)
}

// explain adds the innermost causes of a schema's error.
func explain(path string, err error, fields *problem.Fields) {
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		fields.Add(path, "%v", err)
		return
	}
	printer := message.NewPrinter(language.English)
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		for _, cause := range e.Causes {
			walk(cause)
		}
		if len(e.Causes) == 0 && len(*fields) <= maxFields {
			fields.Add(path+instancePath(e.InstanceLocation), "%s", e.ErrorKind.LocalizedString(printer))
		}
	}
	walk(invalid)
}

func instancePath(location []string) string {
	var b strings.Builder
	for _, part := range location {
		if _, err := strconv.Atoi(part); err == nil {
			b.WriteString("[" + part + "]")
		} else {
			b.WriteString("." + part)
		}
	}
	return b.String()
}
