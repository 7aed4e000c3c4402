package document

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	// maxValues is the largest number of values in a document, keys and aliased values included.
	maxValues = 2_000_000
	// maxDepth is how deep values may be nested.
	maxDepth = 200
)

// tree is a document before anything is made of it.
type tree struct{ root *yaml.Node }

// readTree parses a document, of which JSON is the part of YAML that it is, and keeps it within bounds.
func readTree(text string) (*tree, error) {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		return nil, invalid(syntaxError(err))
	}
	var next yaml.Node
	if err := decoder.Decode(&next); !errors.Is(err, io.EOF) {
		return nil, invalid("has more than one YAML document; give one")
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, invalid(`is no OpenAPI document: want a mapping that begins with "openapi: 3.1.0", "info:" and "paths:"`)
	}
	t := &tree{root: document.Content[0]}
	w := walker{}
	if err := w.walk(t.root, 0); err != nil {
		return nil, invalid(err.Error())
	}
	return t, nil
}

func syntaxError(err error) string {
	return "is neither JSON nor YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")
}

type walker struct{ values int }

// walk follows aliases; those that contain themselves run into the limit of depth.
func (w *walker) walk(n *yaml.Node, depth int) error {
	if w.values++; w.values > maxValues {
		return fmt.Errorf("has more than %d values; split the API into several", maxValues)
	}
	if depth > maxDepth {
		return fmt.Errorf("line %d: values are nested more than %d deep", n.Line, maxDepth)
	}
	if n.Kind == yaml.AliasNode {
		return w.walk(n.Alias, depth+1)
	}
	if n.Kind == yaml.MappingNode {
		if err := uniqueKeys(n); err != nil {
			return err
		}
	}
	for _, child := range n.Content {
		if err := w.walk(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// uniqueKeys refuses keys that occur twice: parsers do not agree on which one counts.
func uniqueKeys(n *yaml.Node) error {
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: a key is not a string", key.Line)
		}
		if first, taken := lines[key.Value]; taken {
			return fmt.Errorf("line %d: the key %q is there already, on line %d", key.Line, key.Value, first)
		}
		lines[key.Value] = key.Line
	}
	return nil
}

// keys returns the lines of the keys of the root.
func (t *tree) keys() map[string]int {
	lines := map[string]int{}
	for i := 0; i+1 < len(t.root.Content); i += 2 {
		lines[t.root.Content[i].Value] = t.root.Content[i].Line
	}
	return lines
}

// lineOfReference returns the line of the first "$ref" with the value, 0 when there is none.
func (t *tree) lineOfReference(ref string) int { return referenceLine(t.root, ref) }

func referenceLine(n *yaml.Node, ref string) int {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && n.Content[i-1].Value == "$ref" && child.Value == ref {
			return child.Line
		}
		if line := referenceLine(child, ref); line > 0 {
			return line
		}
	}
	return 0
}
