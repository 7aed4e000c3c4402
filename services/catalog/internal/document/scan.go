package document

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// scan keeps a document within bounds before anything is made of it: what follows can then recurse and follow aliases
// without care. It returns the lines of the keys at the document's root.
//
// JSON, in which large documents come, is looked at token by token; a tree of YAML takes ten times as long and as much memory.
func scan(text string) (map[string]int, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return nil, invalid("is empty; give the OpenAPI document itself, as JSON or YAML")
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return nil, invalid("is not text in UTF-8 without the character U+0000")
	}
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		s := newScanner(text)
		err := s.document()
		var syntax *syntaxFailure
		if !errors.As(err, &syntax) {
			return s.keys, err
		}
		// Not JSON, but it may still be YAML.
	}
	tree, err := readTree(text)
	if err != nil {
		return nil, err
	}
	return tree.keys(), nil
}

// scanner reads JSON token by token.
type scanner struct {
	text    string
	decoder *json.Decoder
	keys    map[string]int
	values  int
	line    int   // of offset
	offset  int64 // up to which lines were counted
}

func newScanner(text string) *scanner {
	return &scanner{text: text, decoder: json.NewDecoder(strings.NewReader(text)), keys: map[string]int{}, line: 1}
}

// syntaxFailure says that the text is not JSON.
type syntaxFailure struct{ error }

func (s *scanner) document() error {
	token, err := s.next()
	if err != nil {
		return err
	}
	if err := s.value(token, 0); err != nil {
		return err
	}
	if _, err := s.decoder.Token(); !errors.Is(err, io.EOF) {
		return &syntaxFailure{errors.New("the text goes on")}
	}
	return nil
}

func (s *scanner) next() (json.Token, error) {
	if s.values++; s.values > maxValues {
		return nil, invalid(fmt.Sprintf("has more than %d values; split the API into several", maxValues))
	}
	token, err := s.decoder.Token()
	if err != nil {
		return nil, &syntaxFailure{err}
	}
	return token, nil
}

func (s *scanner) value(token json.Token, depth int) error {
	if depth > maxDepth {
		return invalid(at(s.currentLine(), fmt.Sprintf("values are nested more than %d deep", maxDepth)))
	}
	delim, _ := token.(json.Delim)
	var seen map[string]int64
	switch delim {
	case '{':
		seen = map[string]int64{}
	case '[':
	default:
		return nil
	}
	for s.decoder.More() {
		token, err := s.next()
		if err != nil {
			return err
		}
		if delim == '{' {
			if token, err = s.member(token, seen, depth); err != nil {
				return err
			}
		}
		if err := s.value(token, depth+1); err != nil {
			return err
		}
	}
	if _, err := s.decoder.Token(); err != nil {
		return &syntaxFailure{err}
	}
	return nil
}

// member takes the key of a member and returns the first token of its value. Keys that occur twice are refused: parsers do not
// agree on which one counts.
func (s *scanner) member(token json.Token, seen map[string]int64, depth int) (json.Token, error) {
	key, _ := token.(string)
	end := s.decoder.InputOffset()
	if first, taken := seen[key]; taken {
		return nil, invalid(at(s.currentLine(), fmt.Sprintf("the key %q is there already, on line %d", key, 1+strings.Count(s.text[:first], "\n"))))
	}
	seen[key] = end
	if depth == 0 {
		s.keys[key] = s.currentLine()
	}
	return s.next()
}

func (s *scanner) currentLine() int {
	now := s.decoder.InputOffset()
	s.line += strings.Count(s.text[s.offset:now], "\n")
	s.offset = now
	return s.line
}

// lineOfReference returns the line of the first "$ref" with the value, 0 when there is none.
func lineOfReference(text, ref string) int {
	quoted, err := json.Marshal(ref)
	if err == nil && strings.HasPrefix(strings.TrimSpace(text), "{") {
		for _, before := range []string{`"$ref": `, `"$ref":`} {
			if i := strings.Index(text, before+string(quoted)); i >= 0 {
				return 1 + strings.Count(text[:i], "\n")
			}
		}
	}
	tree, err := readTree(text)
	if err != nil {
		return 0
	}
	return tree.lineOfReference(ref)
}
