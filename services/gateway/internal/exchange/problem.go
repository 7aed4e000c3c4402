package exchange

import (
	"net/http"
	"strconv"

	"github.com/tollgate/tollgate/libs/problem"
)

// AppendProblem appends the document of a problem. callID may be empty.
func AppendProblem(b []byte, p *Problem, callID string) []byte {
	b = append(b, `{"type":"`+problem.TypePrefix...)
	b = append(b, p.Code...)
	b = append(b, `","title":"`...)
	b = append(b, http.StatusText(p.Status)...)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(p.Status), 10)
	b = append(b, `,"detail":`...)
	b = appendJSON(b, p.Detail)
	if callID != "" {
		b = append(b, `,"instance":"urn:tollgate:call:`...)
		b = append(b, callID...)
		b = append(b, '"')
	}
	b = append(b, `,"code":"`...)
	b = append(b, p.Code...)
	b = append(b, '"')
	if p.Violated != "" {
		b = append(b, `,"violated-policies":[`...)
		b = appendJSON(b, p.Violated)
		b = append(b, ']')
	}
	if len(p.Fields) > 0 {
		b = append(b, `,"errors":[`...)
		for i, f := range p.Fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"path":`...)
			b = appendJSON(b, f.Path)
			b = append(b, `,"message":`...)
			b = appendJSON(b, f.Message)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	return append(b, "}\n"...)
}

const hexDigits = "0123456789abcdef"

// appendJSON appends a JSON string. Bytes that are no UTF-8 become U+FFFD.
func appendJSON(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || r == 0x7f || r == '<' || r == '>' || r == '&':
			b = append(b, `\u00`...)
			b = append(b, hexDigits[r>>4], hexDigits[r&15])
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}
