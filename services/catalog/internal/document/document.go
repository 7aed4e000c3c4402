// Package document reads the OpenAPI document of an API version: versions 3.0 and 3.1, in JSON or YAML, and Swagger 2.0, which
// it converts. It makes of it what the rest of Tollgate goes by: operations, what they ask of callers, mock answers.
//
// Documents come from outside and are taken with bounds: size, number of values (aliases of YAML counted as often as they
// are used), depth. References to other documents are refused, except those to hosts that the reader is told to trust, which
// are read once and become part of the document. What is read here is what the gateways compile. Reading is safe for
// concurrent use; only catalog imports this package.
package document

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

const (
	// MaxBytes is the size of the largest document. One that is larger could not be handed out in one message of NATS.
	MaxBytes = 15 << 20
	// MaxOperations is the largest number of operations of a document.
	MaxOperations = 10_000
	// maxOperationBytes is the size of what is known of all operations together.
	maxOperationBytes = 2 << 20
	// maxSummary is where a summary is cut, in characters.
	maxSummary = 200
)

// Path of the document in a specification.
const Path = "spec.openapi"

// Document is what Tollgate needs to know of an OpenAPI document.
type Document struct {
	// SHA256 of the bytes as they were given, in hex.
	SHA256 string
	// Version is the document's info.version.
	Version    string
	Operations []*catalogv1.Operation
	// Text is the OpenAPI document: complete in itself, JSON or YAML.
	Text string
	// Original is what was given, where Text was made of it: Swagger 2.0, or a document with external references.
	Original string
	// Mocks are the mock answers, where they were asked for.
	Mocks []*gatewayv1.MockAnswer
}

// Options of reading.
type Options struct {
	// Validating says that requests are to be validated against the document. Then regular expressions must be ones that gateways
	// can use: OpenAPI has those of JavaScript, gateways those of RE2, which never take exponential time but have no look-ahead.
	Validating bool
	// Mocked says that mock answers are to be made of the document, and it is an error if they cannot be.
	Mocked bool
	// References are read through it; nil refuses them all.
	References *References
}

// Digest returns the hex SHA-256 of a document's bytes.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Read reads a document. The error is of kind Invalid, or TooLarge, and says on which lines what is wrong.
func Read(ctx context.Context, text string, o Options) (Document, error) {
	d := Document{SHA256: Digest(text), Text: text}
	doc, made, err := load(ctx, text, o)
	if err != nil {
		return Document{}, err
	}
	if made != "" {
		d.Text, d.Original = made, text
	}
	d.Version = doc.Info.Version
	if d.Operations, err = operationsOf(doc); err != nil {
		return Document{}, err
	}
	if o.Mocked {
		d.Mocks, err = Mocks(ctx, doc)
	}
	return d, err
}

// maxErrors is how many errors of one document are reported at once.
const maxErrors = 20

func invalid(messages ...string) error {
	var fields problem.Fields
	for i, m := range messages {
		if i == maxErrors {
			fields.Add(Path, "%d more errors are left out", len(messages)-maxErrors)
			break
		}
		fields.Add(Path, "%s", m)
	}
	return fields.Err("document-invalid", "The OpenAPI document is not valid.")
}

func tooLarge(size int) error {
	return problem.NewTooLarge("document-too-large", "The OpenAPI document is %d bytes long; the most is %d MiB.", size, MaxBytes>>20)
}

func at(line int, message string) string {
	if line == 0 {
		return message
	}
	return fmt.Sprintf("line %d: %s", line, message)
}

// operationsOf returns the operations in the order of their paths and methods.
func operationsOf(doc *openapi3.T) ([]*catalogv1.Operation, error) {
	var all []*catalogv1.Operation
	seen := map[string]string{}
	size := 0
	err := eachOperation(doc, func(method, path string, operation *openapi3.Operation) error {
		if err := checkTemplate(path); err != nil {
			return err
		}
		o := newOperation(method, path, operation)
		o.Security = securityOf(doc, operation)
		where := method + " " + path
		if first, taken := seen[o.GetId()]; taken {
			return invalid(fmt.Sprintf("the operations %s and %s have the same id %q; give each its own operationId", first, where, o.GetId()))
		}
		seen[o.GetId()] = where
		if size += proto.Size(o); size > maxOperationBytes {
			return invalid(fmt.Sprintf("the paths, ids, summaries and security requirements of the operations up to %s are longer than %d MiB together; split the API", where, maxOperationBytes>>20))
		}
		all = append(all, o)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, invalid("has no operations; describe at least one under paths")
	case len(all) > MaxOperations:
		return nil, invalid(fmt.Sprintf("has %d operations; the most is %d", len(all), MaxOperations))
	}
	return all, nil
}

// eachOperation calls do for the operations in the order of their paths and methods.
func eachOperation(doc *openapi3.T, do func(method, path string, o *openapi3.Operation) error) error {
	if doc.Paths == nil {
		return nil
	}
	for _, path := range slices.Sorted(slices.Values(doc.Paths.Keys())) {
		item := doc.Paths.Value(path)
		if item == nil {
			continue
		}
		operations := item.Operations()
		for _, method := range slices.Sorted(maps.Keys(operations)) {
			if err := do(method, path, operations[method]); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxParameters is the largest number of parameters in a path.
const maxParameters = 16

// checkTemplate refuses paths that OpenAPI allows and gateways do not route.
func checkTemplate(path string) error {
	if strings.Contains(path, "}{") {
		return invalid(fmt.Sprintf("the path %s has parameters with nothing in between, so that nothing tells where one ends; put something there, as in /{from}/{to} or /{from}...{to}", path))
	}
	if strings.Count(path, "{") > maxParameters {
		return invalid(fmt.Sprintf("the path %s has more than %d parameters", path, maxParameters))
	}
	return nil
}

// idOf returns the id by which Tollgate knows an operation.
func idOf(method, path string, o *openapi3.Operation) string {
	if o.OperationID != "" {
		return o.OperationID
	}
	return method + " " + path
}

func newOperation(method, path string, o *openapi3.Operation) *catalogv1.Operation {
	summary := []rune(strings.TrimSpace(o.Summary))
	if len(summary) > maxSummary {
		summary = append(summary[:maxSummary-1], '…')
	}
	return &catalogv1.Operation{Id: idOf(method, path, o), Method: method, Path: path, Summary: string(summary), Deprecated: o.Deprecated}
}

// securityOf returns the alternatives that an operation asks of its caller: its own, or those of the document.
func securityOf(doc *openapi3.T, o *openapi3.Operation) []*catalogv1.Security {
	requirements := doc.Security
	if o.Security != nil {
		requirements = *o.Security
	}
	var all []*catalogv1.Security
	for _, requirement := range requirements {
		alternative := &catalogv1.Security{}
		for _, name := range slices.Sorted(maps.Keys(requirement)) {
			kind := schemeType(doc, name)
			if !slices.Contains(alternative.Types, kind) {
				alternative.Types = append(alternative.Types, kind)
			}
			if kind != "oauth2" && kind != "openIdConnect" {
				continue
			}
			for _, scope := range requirement[name] {
				if !slices.Contains(alternative.Scopes, scope) {
					alternative.Scopes = append(alternative.Scopes, scope)
				}
			}
		}
		all = append(all, alternative)
	}
	return all
}

func schemeType(doc *openapi3.T, name string) string {
	if doc.Components == nil {
		return ""
	}
	if s := doc.Components.SecuritySchemes[name]; s != nil && s.Value != nil {
		return s.Value.Type
	}
	return ""
}

// loadErrors says what kept a document from being loaded.
func loadErrors(err error, text string) []string {
	var external *openapi3.DisallowedExternalRefError
	if errors.As(err, &external) {
		return []string{leadsOut(external.Ref, text)}
	}
	var reference *referenceError
	if errors.As(err, &reference) {
		return []string{at(lineOfReference(text, reference.ref), reference.Error())}
	}
	message := strings.TrimPrefix(err.Error(), "failed to unmarshal data: ")
	message = strings.TrimPrefix(message, "yaml error: yaml: construct errors: ")
	return []string{message}
}

func leadsOut(ref, text string) string {
	return at(lineOfReference(text, ref), fmt.Sprintf("the reference %q leads out of the document; put what it refers to under components and refer to that, as in \"#/components/schemas/Pet\", or list the host in externalReferences", ref))
}
