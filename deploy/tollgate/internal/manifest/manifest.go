// Package manifest reads the files in which providers keep their resources: YAML documents of the form that libs/resource
// defines. It knows the line of every field, so that an error names file, line and field, and it reads the OpenAPI document
// that an APIVersion names by its path.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
)

// maxFile is the largest file that is read, in bytes.
const maxFile = 64 << 20

// Item is one document of a file.
type Item struct {
	resource.Resource
	File string
	node *yaml.Node
}

// Problem is something that is wrong in a file.
type Problem struct {
	File string
	// Line counts from 1.
	Line int
	// Field is the path within the document, as in "spec.prices[1].unit"; empty for the document as a whole.
	Field   string
	Message string
}

// Error prints the problem as "file:line: field: message".
func (p Problem) Error() string {
	if p.Field == "" {
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Field, p.Message)
}

// Load reads files, and the files of directories (not of directories in them), and checks every document. All that is
// wrong is returned at once, joined; each is a Problem. lookup gives the values of ${NAME}, which are put into every text but documents;
// $${ stands for ${.
func Load(paths []string, lookup func(string) (string, bool)) ([]Item, error) {
	files, err := expand(paths)
	if err != nil {
		return nil, err
	}
	var items []Item
	var errs []error
	for _, f := range files {
		found, err := readFile(f, lookup)
		items = append(items, found...)
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, check(items))...); err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("no Tollgate resources in %s: a document starts with apiVersion: %s", strings.Join(paths, ", "), resource.APIVersion)
	}
	return items, nil
}

type file struct {
	path string
	// named says that the user named the file itself: it must hold resources.
	named bool
}

func expand(paths []string) ([]file, error) {
	var files []file
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read resources: %w", err)
		}
		if !info.IsDir() {
			files = append(files, file{path, true})
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("read resources: %w", err)
		}
		for _, e := range entries {
			if !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
				files = append(files, file{filepath.Join(path, e.Name()), false})
			}
		}
	}
	return files, nil
}

func readFile(f file, lookup func(string) (string, bool)) ([]Item, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, fmt.Errorf("read resources: %w", err)
	}
	if info.Size() > maxFile {
		return nil, Problem{File: f.path, Line: 1, Message: fmt.Sprintf("the file is over %d MiB", maxFile>>20)}
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("read resources: %w", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var items []Item
	var errs []error
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return items, errors.Join(errs...)
		}
		if err != nil {
			return items, errors.Join(append(errs, syntaxProblem(f, err))...)
		}
		if len(document.Content) == 0 || (!f.named && !isResource(document.Content[0])) {
			continue
		}
		item, err := decode(f.path, document.Content[0], lookup)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		items = append(items, item)
	}
}

// syntaxProblem reports a file that is not YAML. In a directory a file without resources may be anything.
func syntaxProblem(f file, err error) error {
	line, message := 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if _, scanErr := fmt.Sscanf(message, "line %d:", &line); scanErr == nil {
		_, message, _ = strings.Cut(message, ": ")
	}
	return Problem{File: f.path, Line: line, Message: "is not YAML: " + message}
}

// isResource says whether a document means to be one of Tollgate's.
func isResource(n *yaml.Node) bool {
	value := Child(n, "apiVersion")
	return value != nil && strings.HasPrefix(value.Value, "tollgate/")
}

func decode(path string, n *yaml.Node, lookup func(string) (string, bool)) (Item, error) {
	item := Item{File: path, node: n}
	document, inline := documentOf(n)
	if !inline {
		document = nil // its path may have variables; a document is left as it is
	}
	if err := substitute(path, n, document, lookup); err != nil {
		return item, err
	}
	if err := inlineDocument(path, n); err != nil {
		return item, err
	}
	value, err := toJSON(n)
	if err != nil {
		return item, Problem{File: path, Line: n.Line, Message: err.Error()}
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return item, Problem{File: path, Line: n.Line, Message: err.Error()}
	}
	strict := json.NewDecoder(bytes.NewReader(raw))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&item.Resource); err != nil {
		return item, item.envelopeProblem(err)
	}
	return item, nil
}

func (i Item) envelopeProblem(err error) error {
	message := strings.TrimPrefix(err.Error(), "json: ")
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		return i.Problem(wrongType.Field, fmt.Sprintf("is a %s; want a %s", wrongType.Value, wrongType.Type))
	}
	if name, ok := strings.CutPrefix(message, "unknown field "); ok {
		name = strings.Trim(name, `"`)
		where := name
		if Child(i.node, name) == nil {
			where = "metadata." + name
		}
		return i.Problem(where, "is not a field here; want apiVersion, kind, metadata (name and the parent) and spec")
	}
	return i.Problem("", message)
}

// check decodes every spec and looks for documents that are there twice.
func check(items []Item) error {
	var errs []error
	seen := map[string]Item{}
	for _, item := range items {
		if _, err := item.Decode(); err != nil {
			errs = append(errs, item.Problems(err)...)
		}
		if first, twice := seen[item.Key()]; twice {
			errs = append(errs, item.Problem("metadata.name", fmt.Sprintf("%s is there already, at %s:%d", item.Key(), first.File, first.node.Line)))
		}
		seen[item.Key()] = item
	}
	return errors.Join(errs...)
}

// Problems turns an error about this resource into problems with their lines.
func (i Item) Problems(err error) []error {
	var known *problem.Error
	if !errors.As(err, &known) {
		return []error{i.Problem("", err.Error())}
	}
	if len(known.Fields) == 0 {
		return []error{i.Problem("", known.Message)}
	}
	var errs []error
	for _, f := range known.Fields {
		errs = append(errs, i.Problem(f.Path, f.Message))
	}
	return errs
}

// Problem returns a problem with the field at path.
func (i Item) Problem(path, message string) Problem {
	return Problem{File: i.File, Line: lineOf(i.node, path), Field: path, Message: message}
}

// ProblemsBelow is Problems for an error whose paths start at a part of the document, such as "spec".
func (i Item) ProblemsBelow(prefix string, err error) []error {
	var known *problem.Error
	if !errors.As(err, &known) {
		return i.Problems(err)
	}
	below := *known
	below.Fields = slices.Clone(known.Fields)
	for n := range below.Fields {
		below.Fields[n].Path = prefix + "." + below.Fields[n].Path
	}
	return i.Problems(&below)
}
