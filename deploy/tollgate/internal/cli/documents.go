package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/manifest"
	"github.com/tollgate/tollgate/libs/resource"
)

// writeResources writes resources as YAML that apply takes, and makes the same again. beside, unless nil, writes a document that a
// resource has into a file of its own, and returns the value that names it; where it is nil, documents stay where they are.
func writeResources(w io.Writer, resources []resource.Resource, beside func(r resource.Resource, document string) (string, error)) error {
	if len(resources) == 0 {
		return nil
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	for _, r := range resources {
		node, err := nodeOf(r)
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		document := manifest.Child(manifest.Child(node, "spec"), manifest.InlinedField(r.Kind))
		if document != nil && document.Value != "" && beside != nil {
			if document.Value, err = beside(r, document.Value); err != nil {
				return fmt.Errorf("export: %w", err)
			}
			document = nil
		}
		escape(node, document)
		blockStyle(node)
		if err := encoder.Encode(node); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return encoder.Close()
}

// nodeOf turns a resource into nodes, in the order and with the digits of what the service sent. JSON is not read as YAML here, which has
// other ends of a line and does not take every character.
func nodeOf(r resource.Resource) (*yaml.Node, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	return nextNode(decoder)
}

func nextNode(decoder *json.Decoder) (*yaml.Node, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch value := token.(type) {
	case json.Delim:
		kind, tag := yaml.MappingNode, "!!map"
		if value == '[' {
			kind, tag = yaml.SequenceNode, "!!seq"
		}
		n := &yaml.Node{Kind: kind, Tag: tag}
		for decoder.More() {
			child, err := nextNode(decoder)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err = decoder.Token()
		return n, err
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}, nil
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(value.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(value)}, nil
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	}
}

// documentFiles writes documents into a folder below dir, which apply does not take for resources.
type documentFiles struct{ dir string }

func (d documentFiles) write(r resource.Resource, document string) (string, error) {
	text, err := manifest.Unpack(document)
	if err != nil {
		return "", err
	}
	extension := ".yaml"
	if strings.HasPrefix(strings.TrimLeft(text, " \t\r\n\ufeff"), "{") {
		extension = ".json"
	}
	name := filepath.Join("documents", strings.ToLower(r.Kind)+"-"+r.Metadata.Name+extension)
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%s is not a name of a file", r.Metadata.Name)
	}
	path := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return "./" + filepath.ToSlash(name), os.WriteFile(path, []byte(text), 0o600)
}

// escape keeps apply from replacing anything in a text, other than in a document, where it does not.
func escape(n, document *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n != document {
		n.Value = manifest.Escape(n.Value)
	}
	for _, c := range n.Content {
		escape(c, document)
	}
}

// blockStyle chooses how each text is written, and a line for each field and element: what was read from JSON would be one line.
func blockStyle(n *yaml.Node) {
	switch {
	case n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode:
		n.Style &^= yaml.FlowStyle
	case n.Kind == yaml.ScalarNode && n.Tag == "!!str":
		n.Style = textStyle(n.Value)
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// textStyle is one that gives the same text when it is read. In blocks of lines, other ends of a line than a line feed would become one,
// and so would some of the characters that are not shown.
func textStyle(text string) yaml.Style {
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			return yaml.DoubleQuotedStyle
		}
	}
	switch {
	case !strings.Contains(text, "\n"):
		return 0
	case strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\n"):
		return yaml.DoubleQuotedStyle
	default:
		return yaml.LiteralStyle
	}
}
