package chserver

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// exception is an error in ClickHouse's own terms.
type exception struct {
	code int
	text string // as ClickHouse writes it: "Code: 62. DB::Exception: … (SYNTAX_ERROR)"
}

func (e *exception) Error() string { return e.text }

// newException makes an exception of the server's own.
func newException(code int, name, format string, arguments ...any) *exception {
	return &exception{code: code, text: fmt.Sprintf("Code: %d. DB::Exception: %s. (%s)", code, fmt.Sprintf(format, arguments...), name)}
}

// Codes of ClickHouse's src/Common/ErrorCodes.cpp.
const (
	codeNotImplemented       = 48
	codeSyntaxError          = 62
	codeUnknownSetting       = 115
	codeCannotDecompress     = 271
	codeRequiredPassword     = 194
	codeAuthenticationFailed = 516
	codeQueryCancelled       = 394
	codeStandard             = 1001
	codeQueryTooLarge        = 1006 // the server's own limit; ClickHouse has no code for a body that is too large
)

var exceptionCode = regexp.MustCompile(`^\s*Code: (\d+)\. `)

// engineVersionSuffix is what some of the engine's messages end with; it says nothing about the error.
var engineVersionSuffix = regexp.MustCompile(`\s*\(version [^()]*(\([^()]*\))?\)\s*$`)

// parseException reads the engine's error text. An empty text is no error.
func parseException(message string) error {
	if message == "" {
		return nil
	}
	message = strings.TrimSpace(engineVersionSuffix.ReplaceAllString(message, ""))
	match := exceptionCode.FindStringSubmatch(message)
	if match == nil {
		return newException(codeStandard, "STD_EXCEPTION", "%s", message)
	}
	code, err := strconv.Atoi(match[1])
	if err != nil {
		return newException(codeStandard, "STD_EXCEPTION", "%s", message)
	}
	return &exception{code: code, text: message}
}

// status is the HTTP status ClickHouse answers an exception with, see exceptionCodeToHTTPStatus in its HTTPHandler. Codes are given
// with their names there.
func (e *exception) status() int {
	switch e.code {
	case codeRequiredPassword:
		return http.StatusUnauthorized
	case 192, 193, 512, codeAuthenticationFailed: // UNKNOWN_USER, WRONG_PASSWORD, SET_NON_GRANTED_ROLE, AUTHENTICATION_FAILED
		return http.StatusForbidden
	case 6, 25, 26, 27, 38, 41, 72, 376, 427, // CANNOT_PARSE_*, CANNOT_COMPILE_REGEXP
		15, 36, 44, 53, 117, 167, 168, 321, // DUPLICATE_COLUMN, BAD_ARGUMENTS, ILLEGAL_COLUMN, TYPE_MISMATCH, INCORRECT_DATA, TOO_DEEP_AST, TOO_BIG_AST, VALUE_IS_OUT_OF_RANGE
		codeSyntaxError:
		return http.StatusBadRequest
	case 46, 47, 50, 56, 60, 63, 73, 78, 81, 336, codeUnknownSetting: // UNKNOWN_FUNCTION, …_IDENTIFIER, _TYPE, _STORAGE, _TABLE, _AGGREGATE_FUNCTION, _FORMAT, _TYPE_OF_QUERY, _DATABASE, _DATABASE_ENGINE
		return http.StatusNotFound
	case 159: // TIMEOUT_EXCEEDED
		return http.StatusRequestTimeout
	case codeQueryTooLarge:
		return http.StatusRequestEntityTooLarge
	case codeNotImplemented:
		return http.StatusNotImplemented
	default:
		return http.StatusInternalServerError
	}
}
