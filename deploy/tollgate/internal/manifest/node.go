package manifest

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Child returns the value of a key of a mapping; nil when there is none, or n is no mapping.
func Child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

var pathStep = regexp.MustCompile(`^([^.\[\]]*)((?:\[\d+\])*)$`)

// lineOf returns the line of the field at path, or of the closest that there is around it.
func lineOf(n *yaml.Node, path string) int {
	line := n.Line
	for step := range strings.SplitSeq(path, ".") {
		parts := pathStep.FindStringSubmatch(step)
		if parts == nil {
			return line
		}
		if parts[1] != "" {
			if n = Child(n, parts[1]); n == nil {
				return line
			}
			line = n.Line
		}
		for index := range strings.SplitSeq(strings.Trim(parts[2], "[]"), "][") {
			i, err := strconv.Atoi(index)
			if err != nil {
				break
			}
			if n.Kind != yaml.SequenceNode || i >= len(n.Content) {
				return line
			}
			n = n.Content[i]
			line = n.Line
		}
	}
	return line
}

var variable = regexp.MustCompile(`\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}`)

// escaped is what stands for "${" where nothing is to be replaced.
const escaped = "$${"

// Escape returns text in which Load replaces nothing.
func Escape(text string) string { return strings.ReplaceAll(text, "${", escaped) }

// substitute replaces ${NAME} and ${NAME:-default} in every string but except, and $${ by ${.
func substitute(file string, n, except *yaml.Node, lookup func(string) (string, bool)) error {
	if n == except {
		return nil
	}
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "${") {
		var missing string
		n.Value = variable.ReplaceAllStringFunc(n.Value, func(text string) string {
			if text == escaped {
				return "${"
			}
			m := variable.FindStringSubmatch(text)
			if value, ok := lookup(m[1]); ok && value != "" {
				return value
			}
			if m[2] == "" {
				missing = m[1]
			}
			return m[3]
		})
		if missing != "" {
			return Problem{File: file, Line: n.Line, Message: fmt.Sprintf("the environment variable %s is not set; set it, give a default as in ${%s:-value}, or write $${%s} for the text itself", missing, missing, missing)}
		}
	}
	for _, c := range n.Content {
		if err := substitute(file, c, except, lookup); err != nil {
			return err
		}
	}
	return nil
}

// inlined are the fields that may name a file, by kind.
var inlined = map[string]struct{ field, what string }{
	"APIVersion": {"openapi", "the OpenAPI document"},
	"Ruleset":    {"rules", "the rules"},
}

const (
	// maxDocument is the largest file that a field may name, in bytes.
	maxDocument = 64 << 20
	// packAbove is the size in bytes from which a document is sent compressed: requests have a bound.
	packAbove = 64 << 10
	// packedPrefix begins a compressed document: a data URL (RFC 2397) of gzip (RFC 6713).
	packedPrefix = "data:application/gzip;base64,"
)

// InlinedField is the field of a kind's spec that has a document, or names the file that does; empty for none.
func InlinedField(kind string) string { return inlined[kind].field }

// documentOf returns the field that has a document, or names its file, and says which; nil for none.
func documentOf(n *yaml.Node) (document *yaml.Node, inline bool) {
	kind := Child(n, "kind")
	if kind == nil {
		return nil, false
	}
	document = Child(Child(n, "spec"), InlinedField(kind.Value))
	if document == nil || document.Kind != yaml.ScalarNode {
		return nil, false
	}
	return document, isInline(document.Value)
}

// isInline says whether a value is the document itself, and no path: it has several lines, begins a JSON object, or is compressed.
func isInline(value string) bool {
	return strings.ContainsAny(value, "\n\r") || strings.HasPrefix(strings.TrimLeft(value, " \t\ufeff"), "{") || strings.HasPrefix(value, packedPrefix)
}

// inlineDocument replaces the path of a document by the document. One that is there already is left as it is, but compressed when it is
// large.
func inlineDocument(file string, n *yaml.Node) error {
	document, inline := documentOf(n)
	if document == nil {
		return nil
	}
	if inline {
		document.SetString(pack([]byte(document.Value)))
		return nil
	}
	names := inlined[Child(n, "kind").Value]
	at := func(format string, args ...any) error {
		return Problem{File: file, Line: document.Line, Field: "spec." + names.field, Message: fmt.Sprintf(format, args...)}
	}
	path := document.Value
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(file), path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return at("there is no file %s; name %s by its path relative to this file", document.Value, names.what)
	}
	if info.Size() > maxDocument {
		return at("%s is over %d MiB", document.Value, maxDocument>>20)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return at("%s cannot be read: %s", document.Value, err)
	}
	if !utf8.Valid(data) {
		return at("%s is not text in UTF-8", document.Value)
	}
	document.SetString(pack(data))
	return nil
}

func pack(document []byte) string {
	if len(document) <= packAbove {
		return string(document)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(document) // a buffer takes everything
	_ = w.Close()
	return packedPrefix + base64.StdEncoding.EncodeToString(b.Bytes())
}

// Unpack returns the document of a field that an export gave compressed; another value is returned as it is.
func Unpack(value string) (string, error) {
	encoded, packed := strings.CutPrefix(value, packedPrefix)
	if !packed {
		return value, nil
	}
	compressed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", fmt.Errorf("read a compressed document: %w", err)
	}
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return "", fmt.Errorf("read a compressed document: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxDocument))
	if err != nil {
		return "", fmt.Errorf("read a compressed document: %w", err)
	}
	return string(text), nil
}

// maxDepth bounds the nesting of a document.
const maxDepth = 100

// toJSON turns a node into the value that encoding/json makes of the same document; numbers keep their digits.
func toJSON(n *yaml.Node) (any, error) { return convert(n, 0) }

func convert(n *yaml.Node, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: nested more than %d deep", n.Line, maxDepth)
	}
	switch n.Kind {
	case yaml.MappingNode:
		object := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if _, twice := object[key]; twice {
				return nil, fmt.Errorf("line %d: %s is there twice", n.Content[i].Line, key)
			}
			value, err := convert(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			object[key] = value
		}
		return object, nil
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			value, err := convert(c, depth+1)
			if err != nil {
				return nil, err
			}
			list[i] = value
		}
		return list, nil
	case yaml.AliasNode:
		return nil, fmt.Errorf("line %d: aliases are not supported; write the value out", n.Line)
	default:
		return scalar(n)
	}
}

func scalar(n *yaml.Node) (any, error) {
	switch n.Tag {
	case "!!null":
		return nil, nil
	case "!!bool":
		var b bool
		err := n.Decode(&b)
		return b, err
	case "!!int", "!!float":
		number := json.Number(strings.ReplaceAll(n.Value, "_", ""))
		if !json.Valid([]byte(number)) {
			return n.Value, nil // such as .inf or 0x10: as text, for the field to refuse
		}
		return number, nil
	default:
		return n.Value, nil
	}
}
