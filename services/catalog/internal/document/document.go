// Package document reads the OpenAPI document of an API version: versions 3.0 and 3.1, in JSON or YAML.
//
// Documents come from outside and are taken with bounds: size, number of values (aliases of YAML counted as often as they
// are used), depth. Nothing but the document itself is ever read: references to other files and addresses are refused.
// What is read here is what the gateways compile, by the same library. Reading is pure and safe for concurrent use; only
// catalog imports this package.
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

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

const (
	// MaxBytes is the size of the largest document.
	MaxBytes = 8 << 20
	// MaxOperations is the largest number of operations of a document.
	MaxOperations = 10_000
	// maxSummary is where a summary is cut, in characters.
	maxSummary = 200
)

// Path of the document in a specification.
const Path = "spec.openapi"

// Document is what Tollgate needs to know of an OpenAPI document.
type Document struct {
	// SHA256 of the bytes, in hex.
	SHA256 string
	// Version is the document's info.version.
	Version    string
	Operations []*catalogv1.Operation
}

// Digest returns the hex SHA-256 of a document's bytes.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Read reads a document. The error is of kind Invalid, or TooLarge, and says on which lines what is wrong.
//
// validating says that requests are to be validated against it. Then regular expressions must be ones that gateways can
// use: OpenAPI has those of JavaScript, gateways those of RE2, which never take exponential time but have no look-ahead.
func Read(ctx context.Context, text string, validating bool) (Document, error) {
	doc, err := load(ctx, text, validating)
	if err != nil {
		return Document{}, err
	}
	operations, err := operationsOf(doc)
	if err != nil {
		return Document{}, err
	}
	return Document{SHA256: Digest(text), Version: doc.Info.Version, Operations: operations}, nil
}

// load reads and validates. Examples and defaults are not checked against their schemas: that can take exponential time, and
// nothing in Tollgate goes by them.
func load(ctx context.Context, text string, validating bool) (*openapi3.T, error) {
	if len(text) > MaxBytes {
		return nil, problem.NewTooLarge("document-too-large", "The OpenAPI document is %d bytes long; the most is %d MiB.", len(text), MaxBytes>>20)
	}
	root, err := readTree(text)
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData([]byte(text))
	if err != nil {
		return nil, invalid(loadErrors(err, root)...)
	}
	if err := checkVersion(doc, root); err != nil {
		return nil, err
	}
	options := []openapi3.ValidationOption{
		openapi3.EnableMultiError(), openapi3.DisableExamplesValidation(), openapi3.DisableSchemaDefaultsValidation(),
		openapi3.AllowExtraSiblingFields("pathItems"), // of components in 3.1, which the library resolves but does not know
	}
	if !validating {
		options = append(options, openapi3.DisableSchemaPatternValidation())
	}
	if err := doc.Validate(ctx, options...); err != nil {
		return nil, invalid(validationErrors(ctx, err, text, options)...)
	}
	return doc, nil
}

func checkVersion(doc *openapi3.T, root *tree) error {
	if version := doc.OpenAPIMajorMinor(); version == "3.0" || version == "3.1" {
		return nil
	}
	if line := root.lineOf("swagger"); line > 0 {
		return invalid(at(line, "the document is one of Swagger 2.0; convert it to OpenAPI 3.0 or 3.1"))
	}
	line := root.lineOf("openapi")
	if line == 0 {
		return invalid(`is no OpenAPI document: it has no field "openapi"; want "openapi: 3.0.3" or "openapi: 3.1.0" and the rest`)
	}
	return invalid(at(line, fmt.Sprintf("the document is of OpenAPI %q; want 3.0 or 3.1", doc.OpenAPI)))
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

func at(line int, message string) string {
	if line == 0 {
		return message
	}
	return fmt.Sprintf("line %d: %s", line, message)
}

// operationsOf returns the operations in the order of their paths and methods.
func operationsOf(doc *openapi3.T) ([]*catalogv1.Operation, error) {
	var all []*catalogv1.Operation
	if doc.Paths == nil {
		return nil, noOperations()
	}
	seen := map[string]string{}
	for _, path := range slices.Sorted(slices.Values(doc.Paths.Keys())) {
		item := doc.Paths.Value(path)
		if item == nil {
			continue
		}
		if err := checkTemplate(path); err != nil {
			return nil, err
		}
		operations := item.Operations()
		for _, method := range slices.Sorted(maps.Keys(operations)) {
			o := newOperation(method, path, operations[method])
			where := method + " " + path
			if first, taken := seen[o.Id]; taken {
				return nil, invalid(fmt.Sprintf("the operations %s and %s have the same id %q; give each its own operationId", first, where, o.Id))
			}
			seen[o.Id] = where
			all = append(all, o)
		}
	}
	switch {
	case len(all) == 0:
		return nil, noOperations()
	case len(all) > MaxOperations:
		return nil, invalid(fmt.Sprintf("has %d operations; the most is %d", len(all), MaxOperations))
	}
	return all, nil
}

// maxParameters is the largest number of parameters in a path.
const maxParameters = 16

// checkTemplate refuses paths that OpenAPI allows and gateways do not route.
func checkTemplate(path string) error {
	for segment := range strings.SplitSeq(path, "/") {
		if strings.Count(segment, "{") > 1 {
			return invalid(fmt.Sprintf("the path %s has several parameters in the segment %q; gateways route one a segment, as in /{from}/{to}", path, segment))
		}
	}
	if strings.Count(path, "{") > maxParameters {
		return invalid(fmt.Sprintf("the path %s has more than %d parameters", path, maxParameters))
	}
	return nil
}

func noOperations() error {
	return invalid("has no operations; describe at least one under paths")
}

func newOperation(method, path string, o *openapi3.Operation) *catalogv1.Operation {
	id := o.OperationID
	if id == "" {
		id = method + " " + path
	}
	summary := []rune(strings.TrimSpace(o.Summary))
	if len(summary) > maxSummary {
		summary = append(summary[:maxSummary-1], '…')
	}
	return &catalogv1.Operation{Id: id, Method: method, Path: path, Summary: string(summary), Deprecated: o.Deprecated}
}

// loadErrors says what kept a document from being loaded.
func loadErrors(err error, root *tree) []string {
	var external *openapi3.DisallowedExternalRefError
	if errors.As(err, &external) {
		return []string{at(root.lineOfReference(external.Ref), fmt.Sprintf("the reference %q leads out of the document; put what it refers to under components and refer to that, as in \"#/components/schemas/Pet\"", external.Ref))}
	}
	text := strings.TrimPrefix(err.Error(), "failed to unmarshal data: ")
	text = strings.TrimPrefix(text, "yaml error: yaml: construct errors: ")
	return []string{text}
}
