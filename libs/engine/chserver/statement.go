package chserver

import (
	"strings"
)

// statement is what the server has to know about a statement before the engine sees it.
type statement struct {
	text   string // for an INSERT with data: up to the data, without its FORMAT or VALUES
	insert bool   // an INSERT whose data follows, in the text or in the request's body
	kill   bool   // KILL QUERY
	format string // of the FORMAT clause; for an INSERT with data, of the data; empty if there is none
	data   string // what followed an INSERT in the text
}

// parseStatement reads a statement. It checks what the engine would do in this process rather than in a session: write and read files
// for its command line, and run several statements in a row.
func parseStatement(text string) (statement, error) {
	if insert, ok := parseInsert(text); ok {
		return insert, checkText(insert.text)
	}
	if err := checkText(text); err != nil {
		return statement{}, err
	}
	first, _ := scan(text, 0)
	return statement{text: text, kill: first.is(text, "KILL"), format: formatClause(text)}, nil
}

// checkText refuses what an HTTP server refuses.
func checkText(text string) error {
	var previous token
	for at := 0; ; {
		t, ok := scan(text, at)
		if !ok {
			break
		}
		switch {
		case previous.is(text, "INTO") && t.is(text, "OUTFILE"), previous.is(text, "FROM") && t.is(text, "INFILE"):
			return newException(codeNotImplemented, "NOT_IMPLEMENTED", "%s %s is not allowed over HTTP: the result is the response, the data the request",
				previous.text(text), t.text(text))
		case previous.text(text) == ";" && t.text(text) != ";":
			return newException(codeSyntaxError, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed): failed at position %d: send one statement in a request",
				t.start+1)
		}
		previous, at = t, t.end
	}
	if previous.end == 0 {
		return newException(codeSyntaxError, "SYNTAX_ERROR", "Empty query: send a statement in the body or in the parameter query")
	}
	return nil
}

// formatClause returns the name in the FORMAT clause that ends a query, perhaps before its SETTINGS.
func formatClause(text string) string {
	var format string
	var beforeLast, last token
	for at := 0; ; {
		t, ok := scan(text, at)
		if beforeLast.is(text, "FORMAT") && last.kind == word && (!ok || t.text(text) == ";" || t.is(text, "SETTINGS")) {
			format = last.text(text)
		}
		if !ok {
			return format
		}
		beforeLast, last, at = last, t, t.end
	}
}

// parseInsert takes an INSERT with data apart. An INSERT of a query's result is none.
func parseInsert(text string) (statement, bool) {
	first, ok := scan(text, 0)
	if !ok || !first.is(text, "INSERT") {
		return statement{}, false
	}
	depth := 0
	previous := first
	for at := first.end; ; {
		t, ok := scan(text, at)
		if !ok {
			// Neither a format nor a query: the data is VALUES in the body.
			return statement{text: strings.TrimRight(text, "; \t\r\n"), insert: true, format: "Values"}, true
		}
		switch opening := t.text(text); opening {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			depth--
		}
		switch {
		case t.is(text, "SELECT") || t.is(text, "WITH"):
			if depth == 0 || previous.text(text) == "(" {
				return statement{}, false
			}
		case depth > 0:
		case t.is(text, "VALUES"):
			return statement{text: text[:t.start], insert: true, format: "Values", data: text[t.end:]}, true
		case t.is(text, "FORMAT"):
			if name, ok := scan(text, t.end); ok && name.kind == word {
				return insertFormat(text, t, name), true
			}
		}
		previous, at = t, t.end
	}
}

// insertFormat reads what follows INSERT … FORMAT name: perhaps settings, then the data.
func insertFormat(text string, clause, name token) statement {
	s := statement{text: text[:clause.start], insert: true, format: name.text(text)}
	end := name.end
	if settings, ok := scan(text, end); ok && settings.is(text, "SETTINGS") {
		end = settingsEnd(text, settings.end)
		s.text += " " + text[settings.start:end]
	}
	data := strings.TrimLeft(text[end:], " \t\f\r")
	// The data begins after the line's end, if the line ends here.
	s.data = strings.TrimPrefix(data, "\n")
	return s
}

// settingsEnd returns where a list of settings (name = value, …) ends.
func settingsEnd(text string, at int) int {
	for {
		for range 3 { // name, =, value
			t, ok := scan(text, at)
			if !ok {
				return at
			}
			at = t.end
		}
		comma, ok := scan(text, at)
		if !ok || comma.text(text) != "," {
			return at
		}
		at = comma.end
	}
}
