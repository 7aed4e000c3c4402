package postgres

import "strings"

// Text makes of a text one that a column of type text takes: valid UTF-8 without U+0000, cut to at most limit bytes. It is for
// texts of others, such as those of errors.
func Text(text string, limit int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") // the cut may have gone through a character
}

// HasText returns the condition that one of the columns has the text of a parameter such as "$3", in upper or lower case; an empty
// text is in all. It reads every row that the other conditions leave, which should be one tenant's.
func HasText(parameter string, columns ...string) string {
	return `strpos(lower(concat_ws(E'\n', ` + strings.Join(columns, ", ") + `)), lower(` + parameter + `)) > 0`
}
