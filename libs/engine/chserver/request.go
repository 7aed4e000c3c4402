package chserver

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// maxStatement bounds a statement without its data, in bytes.
const maxStatement = 16 << 20

// statementPeek is how much of a body is looked at to tell an INSERT's statement from its data.
const statementPeek = 1 << 20

// request is what a client asks for.
type request struct {
	statement  statement
	data       io.Reader // of an INSERT
	parameters map[string]string
	settings   settings
	database   string
	format     string // of the result
	queryID    string

	revision    uint64 // client_protocol_version
	blocks      bool   // compress=1: the response in ClickHouse's compressed blocks
	blockMethod string
	encoding    string // of the response
	waitForEnd  bool   // wait_end_of_query=1: nothing of the response before the statement has ended
}

// reserved are the URL parameters that are not settings.
var reserved = map[string]bool{
	"query": true, "database": true, "default_format": true, "user": true, "password": true, "quota_key": true, "query_id": true,
	"compress": true, "decompress": true, "client_protocol_version": true, "buffer_size": true, "wait_end_of_query": true,
	"stacktrace": true, "enable_http_compression": true, "http_zlib_compression_level": true, "send_progress_in_http_headers": true,
	"session_timeout": true, "session_check": true, "close_session": true,
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseRequest reads a request. Closing what it returns beside the request gives back what reading its body holds.
func parseRequest(r *http.Request) (*request, io.Closer, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, nil, newException(codeSyntaxError, "SYNTAX_ERROR", "Cannot read the URL's query: %v", err)
	}
	q := &request{parameters: map[string]string{}, settings: settings{}}
	if err := q.readValues(values, r.Header); err != nil {
		return nil, nil, err
	}
	// A GET changes nothing (RFC 9110, section 9.2.1). 2 allows settings.
	if r.Method != http.MethodPost {
		q.settings["readonly"] = "2"
	}
	body, err := decode(r.Header.Get("Content-Encoding"), r.Body)
	if err != nil {
		return nil, nil, bodyError(err)
	}
	var reader io.Reader = body
	if values.Get("decompress") == "1" {
		reader = newBlockReader(body)
	}
	if err := q.readStatement(values.Get("query"), reader); err != nil {
		_ = body.Close()
		return nil, nil, bodyError(err)
	}
	if q.statement.format != "" && !q.statement.insert {
		q.format = q.statement.format
	}
	return q, body, nil
}

// readValues reads the URL's parameters and the headers that mean the same.
func (q *request) readValues(values url.Values, header http.Header) error {
	if values.Has("session_id") {
		return newException(codeNotImplemented, "NOT_IMPLEMENTED", "Sessions are not supported: send each request's settings with it, without session_id")
	}
	for name := range values {
		value := values.Get(name)
		if parameter, ok := strings.CutPrefix(name, "param_"); ok {
			q.parameters[parameter] = value
			continue
		}
		if reserved[name] {
			continue
		}
		if !settingName.MatchString(name) {
			return newException(codeUnknownSetting, "UNKNOWN_SETTING", "Unknown setting %q", name)
		}
		q.settings[name] = value
	}
	q.database = first(values.Get("database"), header.Get("X-ClickHouse-Database"))
	q.format = first(values.Get("default_format"), header.Get("X-ClickHouse-Format"), "TabSeparated")
	q.queryID = values.Get("query_id")
	if q.queryID == "" {
		q.queryID = newQueryID()
	}
	q.blocks = values.Get("compress") == "1"
	q.blockMethod = values.Get("network_compression_method")
	q.waitForEnd = values.Get("wait_end_of_query") == "1"
	if values.Get("enable_http_compression") != "0" {
		q.encoding = chooseEncoding(header.Get("Accept-Encoding"))
	}
	if text := values.Get("client_protocol_version"); text != "" {
		revision, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return newException(codeSyntaxError, "SYNTAX_ERROR", "client_protocol_version %q is not a protocol revision, which is a number", text)
		}
		q.revision = revision
	}
	return nil
}

// readStatement finds the statement in the parameter query and the body, and the data that goes with it.
func (q *request) readStatement(parameter string, body io.Reader) (err error) {
	if len(parameter) > 0 {
		if q.statement, err = parseStatement(parameter); err != nil {
			return err
		}
		if q.statement.insert {
			q.data = io.MultiReader(strings.NewReader(q.statement.data), body)
			return nil
		}
		parameter += "\n"
	}
	// The statement, or the rest of it, is in the body.
	head, err := io.ReadAll(io.LimitReader(body, statementPeek))
	if err != nil {
		return err
	}
	if statement, ok := parseInsert(parameter + string(head)); ok {
		q.statement = statement
		q.data = io.MultiReader(strings.NewReader(statement.data), body)
		return checkText(statement.text)
	}
	rest, err := io.ReadAll(io.LimitReader(body, maxStatement-statementPeek+1))
	if err != nil {
		return err
	}
	if len(head)+len(rest) > maxStatement {
		return newException(codeQueryTooLarge, "QUERY_IS_TOO_LARGE", "The statement is longer than %d bytes; send data with INSERT … FORMAT", maxStatement)
	}
	q.statement, err = parseStatement(parameter + string(bytes.Join([][]byte{head, rest}, nil)))
	return err
}

// bodyError tells the client that its body cannot be read, unless the error is one for the client already.
func bodyError(err error) error {
	var known *exception
	if errors.As(err, &known) {
		return err
	}
	return newException(codeCannotDecompress, "CANNOT_DECOMPRESS", "Cannot read the request's body: %v", err)
}

// first returns the first that is not empty.
func first(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

// newQueryID makes an id as ClickHouse does: a random UUID (RFC 9562, version 4).
func newQueryID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	text := hex.EncodeToString(id[:])
	return fmt.Sprintf("%s-%s-%s-%s-%s", text[:8], text[8:12], text[12:16], text[16:20], text[20:])
}
