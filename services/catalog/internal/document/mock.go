package document

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

// MaxMockBytes is the size of all mock answers of one document together, headers and bodies.
const MaxMockBytes = 4 << 20

// maxWork bounds the work on the answers of one document, in steps: values made of schemas, and what has to be looked at for them.
const maxWork = 1_000_000

// Mocks returns the answers that gateways give in place of an upstream: for every operation one for each status, media type and
// example. Where the document has no example, a value is made from the schema, always the same one. The answers of an operation
// are in the order of preference: success first, then by status; JSON first, then by media type; unnamed examples first, then by
// name. An operation that describes no answer gets an empty one of the status 200.
//
// "2XX" stands for 200 and so on; "default" for 200 where the operation has no other success, else for 500. An answer whose
// media type is not JSON has a body only if the example or the schema is one of text. The error, of kind Invalid, names the
// operation whose answers are too large or too intricate; it is that of ctx when that has ended.
func Mocks(ctx context.Context, doc *openapi3.T) ([]*gatewayv1.MockAnswer, error) {
	m := &mocker{ctx: ctx}
	err := eachOperation(doc, func(method, path string, o *openapi3.Operation) error {
		id := idOf(method, path, o)
		err := m.operation(id, o)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return mockInvalid("the operation %s: %s", id, err)
		}
		return nil
	})
	return m.answers, err
}

// EmptyMocks returns an answer of the status 200 without a body for every operation.
func EmptyMocks(operations []*catalogv1.Operation) []*gatewayv1.MockAnswer {
	all := make([]*gatewayv1.MockAnswer, len(operations))
	for i, o := range operations {
		all[i] = &gatewayv1.MockAnswer{Operation: o.GetId(), Status: http.StatusOK}
	}
	return all
}

// mocker makes the answers of one document within the bounds for all of them together.
type mocker struct {
	ctx     context.Context //nolint:containedctx // lives for one call
	answers []*gatewayv1.MockAnswer
	size    int
	steps   int
}

var (
	errTooMuch   = errors.New("up to here the document takes too many steps to make its mock answers; give examples, or split the API")
	errTooLarge  = fmt.Errorf("up to here the mock answers are longer than %d MiB together; shorten the examples, or split the API", MaxMockBytes>>20)
	errIntricate = fmt.Errorf("the schema takes more than %d steps to make a value from; give an example", maxSteps)
)

// spend takes steps from what one document may take.
func (m *mocker) spend(steps int) error {
	before := m.steps
	if m.steps += steps; m.steps > maxWork {
		return errTooMuch
	}
	const often = 1 << 10 // to look at the context
	if before/often != m.steps/often {
		return m.ctx.Err()
	}
	return nil
}

// add adds an answer.
func (m *mocker) add(a *gatewayv1.MockAnswer) error {
	if m.size += mockSize(a); m.size > MaxMockBytes {
		return errTooLarge
	}
	m.answers = append(m.answers, a)
	return nil
}

func mockInvalid(format string, args ...any) error {
	return problem.NewInvalid("mock-invalid", "The document cannot be mocked.").With(problem.Field{Path: Path, Message: fmt.Sprintf(format, args...)})
}

func mockSize(a *gatewayv1.MockAnswer) int {
	size := len(a.GetBody()) + len(a.GetOperation()) + len(a.GetContentType()) + len(a.GetExample()) + 16
	for name, value := range a.GetHeaders() {
		size += len(name) + len(value)
	}
	return size
}

// operation adds the answers of an operation.
func (m *mocker) operation(id string, o *openapi3.Operation) error {
	responses := map[uint32]*openapi3.Response{}
	for key, ref := range o.Responses.Map() {
		if status := statusOf(key); status > 0 && ref != nil && ref.Value != nil {
			if _, exact := responses[status]; !exact || key == strconv.Itoa(int(status)) {
				responses[status] = ref.Value
			}
		}
	}
	if ref := o.Responses.Value("default"); ref != nil && ref.Value != nil {
		status := uint32(http.StatusOK)
		if slices.ContainsFunc(slices.Collect(maps.Keys(responses)), success) {
			status = http.StatusInternalServerError
		}
		if responses[status] == nil {
			responses[status] = ref.Value
		}
	}
	if len(responses) == 0 {
		return m.add(&gatewayv1.MockAnswer{Operation: id, Status: http.StatusOK})
	}
	for _, status := range slices.SortedFunc(maps.Keys(responses), byPreference) {
		if err := m.response(id, status, responses[status]); err != nil {
			return fmt.Errorf("status %d: %w", status, err)
		}
	}
	return nil
}

// statusOf reads the key of a response; 0 for "default" and extensions.
func statusOf(key string) uint32 {
	if len(key) == 3 && strings.EqualFold(key[1:], "XX") {
		key = key[:1] + "00"
	}
	n, err := strconv.ParseUint(key, 10, 32)
	if err != nil || n < 200 || n > 599 { // 1xx is no answer
		return 0
	}
	return uint32(n)
}

func success(status uint32) bool { return status < 300 }

func byPreference(a, b uint32) int {
	if success(a) != success(b) {
		if success(a) {
			return -1
		}
		return 1
	}
	return cmp.Compare(a, b)
}

// response adds the answers of one status.
func (m *mocker) response(id string, status uint32, r *openapi3.Response) error {
	if err := m.spend(1 + len(r.Headers) + len(r.Content)); err != nil {
		return err
	}
	headers, err := m.headers(r)
	if err != nil {
		return err
	}
	before := len(m.answers)
	for _, mediaType := range slices.SortedFunc(maps.Keys(r.Content), byMediaType) {
		if strings.Contains(mediaType, "*") || !fieldValue(mediaType) {
			continue // nothing that an answer could be said to be
		}
		if err := m.bodies(&gatewayv1.MockAnswer{Operation: id, Status: status, ContentType: mediaType, Headers: headers}, r.Content[mediaType]); err != nil {
			return fmt.Errorf("%s: %w", mediaType, err)
		}
	}
	if len(m.answers) > before {
		return nil
	}
	return m.add(&gatewayv1.MockAnswer{Operation: id, Status: status, Headers: headers})
}

// bodies adds an answer for each example of a media type.
func (m *mocker) bodies(a *gatewayv1.MockAnswer, content *openapi3.MediaType) error {
	examples, err := m.examples(content)
	if err != nil {
		return err
	}
	for _, e := range examples {
		body, ok := encode(e.value, a.GetContentType())
		if err := m.spend(len(body) / stepBytes); err != nil {
			return err
		}
		if !ok {
			continue
		}
		err := m.add(&gatewayv1.MockAnswer{
			Operation: a.GetOperation(), Status: a.GetStatus(), ContentType: a.GetContentType(), Example: e.name, Headers: a.GetHeaders(), Body: body,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// stepBytes is how many bytes are written in the time of a step.
const stepBytes = 64

func byMediaType(a, b string) int {
	if isJSON(a) != isJSON(b) {
		if isJSON(a) {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// isJSON says whether a media type is JSON: itself or by its suffix (RFC 6839, section 3.1).
func isJSON(mediaType string) bool {
	essence, _, _ := strings.Cut(mediaType, ";")
	essence = strings.ToLower(strings.TrimSpace(essence))
	return essence == "application/json" || strings.HasSuffix(essence, "+json")
}

type example struct {
	name  string
	value any
}

func (m *mocker) examples(content *openapi3.MediaType) ([]example, error) {
	if content == nil {
		return nil, nil
	}
	if err := m.spend(len(content.Examples)); err != nil {
		return nil, err
	}
	var all []example
	if content.Example != nil {
		all = append(all, example{"", content.Example})
	}
	for _, name := range slices.Sorted(maps.Keys(content.Examples)) {
		ref := content.Examples[name]
		if ref == nil || ref.Value == nil || ref.Value.Value == nil { // externalValue leads out of the document
			continue
		}
		all = append(all, example{name, ref.Value.Value})
	}
	if len(all) > 0 || content.Schema == nil {
		return all, nil
	}
	value, err := m.sample(content.Schema)
	return []example{{"", value}}, err
}

// encode returns the bytes of a value in a media type; not ok when there is no telling how it is written in it.
func encode(value any, mediaType string) ([]byte, bool) {
	if text, isText := value.(string); isText && !isJSON(mediaType) {
		return []byte(text), true
	}
	switch value.(type) {
	case map[string]any, []any, nil:
		if !isJSON(mediaType) {
			return nil, false
		}
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, false
	}
	return bytes.TrimRight(b.Bytes(), "\n"), true
}

// own are the header fields that gateways set themselves.
var own = []string{
	"Connection", "Content-Length", "Content-Type", "Date", "Keep-Alive", "Proxy-Connection", "Server", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Content-Encoding",
}

func (m *mocker) headers(r *openapi3.Response) (map[string]string, error) {
	headers := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		ref := r.Headers[name]
		if ref == nil || ref.Value == nil || slices.Contains(own, http.CanonicalHeaderKey(name)) || !fieldName(name) {
			continue
		}
		value := ref.Value.Example
		for _, n := range slices.Sorted(maps.Keys(ref.Value.Examples)) {
			if e := ref.Value.Examples[n]; value == nil && e != nil && e.Value != nil {
				value = e.Value.Value
			}
		}
		if value == nil && ref.Value.Schema != nil {
			var err error
			if value, err = m.sample(ref.Value.Schema); err != nil {
				return nil, fmt.Errorf("header %s: %w", name, err)
			}
		}
		text := headerText(value)
		if err := m.spend((len(text) + len(ref.Value.Examples)) / stepBytes); err != nil {
			return nil, err
		}
		if text != "" && fieldValue(text) {
			headers[name] = text
		}
	}
	if len(headers) == 0 {
		return nil, nil
	}
	return headers, nil
}

// headerText writes a value in the style simple (OpenAPI 3.1, section 4.8.12); "" for objects.
func headerText(value any) string {
	switch v := value.(type) {
	case nil, map[string]any:
		return ""
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = headerText(e)
		}
		return strings.Join(parts, ",")
	default:
		raw, ok := encode(v, "text/plain")
		if !ok {
			return ""
		}
		return string(raw)
	}
}

// fieldName and fieldValue say whether a text can be one in HTTP (RFC 9110, sections 5.1 and 5.5).
func fieldName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func fieldValue(text string) bool {
	return strings.TrimSpace(text) == text && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f })
}
