package document

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
)

// Load reads a document that Read returned before: it is not checked again.
func Load(ctx context.Context, text string) (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	loader.Context = ctx
	doc, err := loader.LoadFromData([]byte(text))
	if err != nil {
		return nil, failure(ctx, invalid(loadErrors(err, text)...))
	}
	return doc, nil
}

// load reads and validates. made is the text of the document where it is not the one given: that of a document that was
// converted, or that took in others. Examples and defaults are not checked against their schemas: that can take exponential
// time, and nothing in Tollgate goes by them.
func load(ctx context.Context, text string, o Options) (doc *openapi3.T, made string, err error) {
	if len(text) > MaxBytes {
		return nil, "", tooLarge(len(text))
	}
	keys, err := scan(text)
	if err != nil {
		return nil, "", err
	}
	if keys["swagger"] > 0 {
		return loadSwagger(ctx, text, o)
	}
	loader := openapi3.NewLoader()
	loader.Context = ctx
	external := false
	if o.References != nil {
		loader.ReadFromURIFunc = o.References.reader(ctx, &external)
	}
	if doc, err = loader.LoadFromData([]byte(text)); err != nil {
		return nil, "", failure(ctx, invalid(loadErrors(err, text)...))
	}
	if err := checkVersion(doc, keys); err != nil {
		return nil, "", err
	}
	if external {
		doc.InternalizeRefs(ctx, nil)
		return reload(ctx, doc, o)
	}
	return doc, "", validate(ctx, doc, text, o)
}

// failure returns the end of the context where that is why something failed.
func failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// reload reads a document that was made here as any other: what it is now is what counts.
func reload(ctx context.Context, doc *openapi3.T, o Options) (*openapi3.T, string, error) {
	raw, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return nil, "", fmt.Errorf("write the document that was made: %w", err)
	}
	text := string(raw)
	again, _, err := load(ctx, text, Options{Validating: o.Validating})
	return again, text, err
}

func validate(ctx context.Context, doc *openapi3.T, text string, o Options) error {
	options := []openapi3.ValidationOption{
		openapi3.EnableMultiError(), openapi3.DisableExamplesValidation(), openapi3.DisableSchemaDefaultsValidation(),
		openapi3.AllowExtraSiblingFields("pathItems"), // of components in 3.1, which the library resolves but does not know
	}
	if !o.Validating {
		options = append(options, openapi3.DisableSchemaPatternValidation())
	}
	err := withoutHarmless(doc, doc.Validate(ctx, options...))
	if err == nil {
		return nil
	}
	return failure(ctx, invalid(validationErrors(ctx, err, text, options)...))
}

// withoutHarmless leaves out errors on templates that differ by the names of their parameters alone but have no method in
// common: OpenAPI forbids them, large documents have them, and gateways tell them apart.
func withoutHarmless(doc *openapi3.T, err error) error {
	if err == nil {
		return nil
	}
	several := openapi3.MultiError{err}
	_ = errors.As(err, &several)
	var left openapi3.MultiError
	for _, e := range several {
		var conflict *openapi3.ConflictingPathsError
		if errors.As(e, &conflict) && !shareMethod(doc.Paths.Value(conflict.Path1), doc.Paths.Value(conflict.Path2)) {
			continue
		}
		left = append(left, e)
	}
	if len(left) == 0 {
		return nil
	}
	return left
}

func shareMethod(a, b *openapi3.PathItem) bool {
	if a == nil || b == nil {
		return true
	}
	others := b.Operations()
	for method := range a.Operations() {
		if others[method] != nil {
			return true
		}
	}
	return false
}

func checkVersion(doc *openapi3.T, keys map[string]int) error {
	if version := doc.OpenAPIMajorMinor(); version == "3.0" || version == "3.1" {
		return nil
	}
	line := keys["openapi"]
	if line == 0 {
		return invalid(`is no OpenAPI document: it has no field "openapi"; want "openapi: 3.0.3" or "openapi: 3.1.0" and the rest`)
	}
	return invalid(at(line, fmt.Sprintf("the document is of OpenAPI %q; want 3.0 or 3.1, or Swagger 2.0", doc.OpenAPI)))
}

// loadSwagger converts a document of Swagger 2.0 to OpenAPI 3.0.
func loadSwagger(ctx context.Context, text string, o Options) (*openapi3.T, string, error) {
	var old openapi2.T
	if err := openapi2.UnmarshalFromData([]byte(text), &old); err != nil {
		return nil, "", invalid(loadErrors(err, text)...)
	}
	if old.Swagger != "2.0" {
		return nil, "", invalid(fmt.Sprintf("the document is of Swagger %q; want 2.0, or OpenAPI 3.0 or 3.1", old.Swagger))
	}
	loader := openapi3.NewLoader()
	loader.Context = ctx
	external := false
	if o.References != nil {
		loader.ReadFromURIFunc = o.References.reader(ctx, &external)
	}
	doc, err := convert(&old, loader)
	if err != nil {
		return nil, "", failure(ctx, invalid(loadErrors(err, text)...))
	}
	if external {
		doc.InternalizeRefs(ctx, nil)
	}
	return reload(ctx, doc, o)
}

// convert is the library's conversion; what it does not foresee in a document is the document's fault.
func convert(old *openapi2.T, loader *openapi3.Loader) (doc *openapi3.T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the document of Swagger 2.0 cannot be converted: %v", r)
		}
	}()
	return openapi2conv.ToV3WithLoader(old, loader, nil)
}
