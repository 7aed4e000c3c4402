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
