package upstream

import (
	"bufio"
	"bytes"
	"strconv"
	"strings"
)

// writeHead writes the request's line and fields into the buffer; errors show at the next Flush.
func (t *Target) writeHead(w *bufio.Writer, c *Call, req Request, length int64) {
	for _, s := range [...]string{c.Method, " ", t.base, c.Path} {
		_, _ = w.WriteString(s)
	}
	if c.Query != "" {
		_ = w.WriteByte('?')
		_, _ = w.WriteString(c.Query)
	}
	_, _ = w.WriteString(" HTTP/1.1\r\n")
	writeField(w, "Host", t.host)
	var named []byte
	if req.Header("Connection") != nil {
		named = connectionOptions(req)
	}
	req.Fields(func(name, value []byte) {
		if !passes(name, c.HideKey) || len(named) > 0 && isNamed(named, name) {
			return
		}
		_, _ = w.Write(name)
		_, _ = w.WriteString(": ")
		_, _ = w.Write(value)
		_, _ = w.WriteString("\r\n")
	})
	writeForwarded(w, c)
	switch {
	case length < 0:
		writeField(w, "Transfer-Encoding", "chunked")
	case length > 0 || c.Method == "POST" || c.Method == "PUT" || c.Method == "PATCH":
		var number [20]byte
		_, _ = w.WriteString("Content-Length: ")
		_, _ = w.Write(strconv.AppendInt(number[:0], length, 10))
		_, _ = w.WriteString("\r\n")
	}
	_, _ = w.WriteString("\r\n")
}

func writeField(w *bufio.Writer, name, value string) {
	_, _ = w.WriteString(name)
	_, _ = w.WriteString(": ")
	_, _ = w.WriteString(value)
	_, _ = w.WriteString("\r\n")
}

// writeForwarded writes the fields of RFC 7239 and their predecessors.
func writeForwarded(w *bufio.Writer, c *Call) {
	_, _ = w.WriteString("X-Forwarded-For: ")
	if c.ForwardedFor != "" {
		_, _ = w.WriteString(c.ForwardedFor)
		_, _ = w.WriteString(", ")
	}
	_, _ = w.WriteString(c.Peer)
	_, _ = w.WriteString("\r\n")
	writeField(w, "X-Forwarded-Host", c.Host)
	writeField(w, "X-Forwarded-Proto", c.Scheme)
	_, _ = w.WriteString("Forwarded: ")
	if c.Forwarded != "" {
		_, _ = w.WriteString(c.Forwarded)
		_, _ = w.WriteString(", ")
	}
	node := c.Peer
	if strings.IndexByte(node, ':') >= 0 {
		node = `"[` + node + `]"`
	}
	for _, s := range [...]string{"for=", node, `;host="`, c.Host, `";proto=`, c.Scheme, "\r\n"} {
		_, _ = w.WriteString(s)
	}
}

// passes says whether a client's field goes to the target. Names are canonical. Hop-by-hop fields (RFC 9110, section 7.6.1) and
// framing do not, nor does what the gateway sets itself or that only it may set.
func passes(name []byte, hideKey bool) bool {
	if len(name) == 0 {
		return false
	}
	switch name[0] {
	case 'A':
		return !hideKey || string(name) != "Authorization"
	case 'C':
		return string(name) != "Connection" && string(name) != "Content-Length"
	case 'E':
		return string(name) != "Expect"
	case 'F':
		return string(name) != "Forwarded"
	case 'H':
		return string(name) != "Host" && string(name) != "Http2-Settings"
	case 'K':
		return string(name) != "Keep-Alive"
	case 'P':
		return string(name) != "Proxy-Connection" && string(name) != "Proxy-Authorization"
	case 'T':
		return string(name) != "Te" && string(name) != "Trailer" && string(name) != "Transfer-Encoding" && !bytes.HasPrefix(name, []byte("Tollgate-"))
	case 'U':
		return string(name) != "Upgrade"
	case 'X':
		return !bytes.HasPrefix(name, []byte("X-Forwarded-")) && string(name) != "X-Real-Ip" && (!hideKey || string(name) != "X-Api-Key")
	}
	return true
}

// connectionOptions returns the values of every field Connection.
func connectionOptions(req Request) []byte {
	var options []byte
	req.Fields(func(name, value []byte) {
		if string(name) == "Connection" {
			options = append(append(options, value...), ',')
		}
	})
	return options
}

// isNamed says whether the field Connection names a field.
func isNamed(connection, name []byte) bool {
	for option := range bytes.SplitSeq(connection, []byte(",")) {
		if bytes.EqualFold(bytes.TrimSpace(option), name) {
			return true
		}
	}
	return false
}
