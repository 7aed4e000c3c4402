package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"gopkg.in/yaml.v3"
)

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// printOne shows one thing: as JSON, or as YAML, which is easier to read.
func printOne(w io.Writer, format string, raw json.RawMessage) error {
	if format == "json" {
		return printJSON(w, raw)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(raw, &node); err != nil {
		return fmt.Errorf("show: %w", err)
	}
	blockStyle(&node)
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return fmt.Errorf("show: %w", err)
	}
	return encoder.Close()
}

// printList shows things as JSON, or as a table of the plain fields of the first one.
func printList(w io.Writer, format string, items []json.RawMessage, columns ...string) error {
	if format == "json" {
		if items == nil {
			items = []json.RawMessage{}
		}
		return printJSON(w, map[string]any{"items": items})
	}
	if len(items) == 0 {
		fmt.Fprintln(w, "none")
		return nil
	}
	if len(columns) == 0 {
		columns = plainFields(items[0])
	}
	table := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.ToUpper(strings.Join(columns, "\t")))
	for _, item := range items {
		var row map[string]any
		decoder := json.NewDecoder(bytes.NewReader(item))
		decoder.UseNumber()
		if err := decoder.Decode(&row); err != nil {
			return fmt.Errorf("show: %w", err)
		}
		cells := make([]string, len(columns))
		for i, c := range columns {
			cells[i] = cell(row[c])
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

// plainFields returns the names of the fields of an object that are neither lists nor objects, in their order; ids come
// last, since names are what people look for.
func plainFields(raw json.RawMessage) []string {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	var names, ids []string
	depth, key := 0, ""
	for {
		token, err := decoder.Token()
		if err != nil {
			return append(names, ids...)
		}
		switch t := token.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				depth++
			} else {
				depth--
			}
			key = ""
		default:
			if depth != 1 {
				continue
			}
			if text, ok := t.(string); ok && key == "" {
				key = text
				continue
			}
			if strings.EqualFold(key, "id") || strings.HasSuffix(key, "Id") {
				ids = append(ids, key)
			} else {
				names = append(names, key)
			}
			key = ""
		}
	}
}

func cell(value any) string {
	switch v := value.(type) {
	case nil:
		return "-"
	case string:
		if v == "" {
			return "-"
		}
		return v
	case []any, map[string]any:
		encoded, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		return string(encoded)
	default:
		return fmt.Sprint(v)
	}
}
