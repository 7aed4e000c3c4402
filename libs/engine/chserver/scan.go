package chserver

import "strings"

// tokenKind tells what a token is; everything that is neither a word nor quoted is a symbol of one byte.
type tokenKind int

const (
	symbol tokenKind = iota
	word
	quoted
)

// token is a piece of a statement. Its zero value is no token.
type token struct {
	kind       tokenKind
	start, end int
}

func (t token) text(source string) string { return source[t.start:t.end] }

// is reports whether the token is that keyword, in any case.
func (t token) is(source, keyword string) bool {
	return t.kind == word && strings.EqualFold(t.text(source), keyword)
}

// scan returns the next token at or after a position, past white space and comments, as ClickHouse's lexer sees it. There is none
// at the end. A quotation or comment that is not closed reaches to the end.
func scan(source string, at int) (token, bool) {
	at = skip(source, at)
	if at >= len(source) {
		return token{start: at, end: at}, false
	}
	t := token{start: at, end: at + 1}
	switch c := source[at]; {
	case c == '\'' || c == '"' || c == '`':
		t.kind, t.end = quoted, quotationEnd(source, at)
	case c == '$':
		if end, ok := heredocEnd(source, at); ok {
			t.kind, t.end = quoted, end
		}
	case strings.HasPrefix(source[at:], "‘"):
		t.kind, t.end = quoted, at+lengthThrough(source[at:], "’", 0)
	case strings.HasPrefix(source[at:], "“"):
		t.kind, t.end = quoted, at+lengthThrough(source[at:], "”", 0)
	case wordByte(c):
		t.kind = word
		for t.end < len(source) && wordByte(source[t.end]) {
			t.end++
		}
	}
	return t, true
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// skip returns the position after white space and comments.
func skip(source string, at int) int {
	for at < len(source) {
		rest := source[at:]
		switch {
		case strings.ContainsRune(" \t\n\r\f\v", rune(rest[0])):
			at++
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "# "), strings.HasPrefix(rest, "#!"):
			at += lengthThrough(rest, "\n", 0)
		case strings.HasPrefix(rest, "/*"):
			at += lengthThrough(rest, "*/", 2)
		default:
			return at
		}
	}
	return at
}

// lengthThrough is the length of s up to and with the first mark at or after from, or all of it.
func lengthThrough(s, mark string, from int) int {
	if found := strings.Index(s[from:], mark); found >= 0 {
		return from + found + len(mark)
	}
	return len(s)
}

// quotationEnd returns the position after the quotation at a position. A backslash escapes, a doubled quotation mark stands for one.
func quotationEnd(source string, at int) int {
	mark := source[at]
	for at++; at < len(source); at++ {
		switch source[at] {
		case '\\':
			at++
		case mark:
			if at+1 >= len(source) || source[at+1] != mark {
				return at + 1
			}
			at++
		}
	}
	return len(source)
}

// heredocEnd returns the position after a heredoc, $tag$ … $tag$.
func heredocEnd(source string, at int) (int, bool) {
	end := at + 1
	for end < len(source) && wordByte(source[end]) {
		end++
	}
	if end >= len(source) || source[end] != '$' {
		return 0, false
	}
	tag := source[at : end+1]
	closing := strings.Index(source[end+1:], tag)
	if closing < 0 {
		return 0, false
	}
	return end + 1 + closing + len(tag), true
}
