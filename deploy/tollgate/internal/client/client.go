// Package client calls the management API at a gateway's admin listener.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
)

// Client remembers the positions that its commands reached, so that what it reads later, also from other services,
// reflects them. It belongs to one goroutine.
type Client struct {
	server    string
	token     string
	http      *http.Client
	positions map[string]uint64
}

// New returns a client of the admin listener at server, as in http://127.0.0.1:8081.
func New(server, token string) *Client {
	return &Client{
		server: strings.TrimSuffix(server, "/"), token: token, positions: map[string]uint64{},
		http: &http.Client{Timeout: 2 * time.Minute},
	}
}

// Do sends a request with a body encoded as JSON (none when nil) and decodes the answer into out (unless nil). A problem
// that the server answers is returned as a *problem.Error. headers are pairs.
func (c *Client) Do(ctx context.Context, method, path string, body, out any, headers ...string) error {
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		payload = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.server+path, payload)
	if err != nil {
		return fmt.Errorf("build request: %w", err)
	}
	c.setHeaders(r, headers)
	response, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("no answer from %s: %w (is `tollgate up` running?)", c.server, err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if response.StatusCode >= 300 {
		return failure(response, data)
	}
	c.note(response.Header.Get(operation.HeaderPosition))
	if out == nil || len(data) == 0 {
		return nil
	}
	if raw, ok := out.(*json.RawMessage); ok {
		*raw = data
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the answer of %s %s is not what was expected: %w", method, path, err)
	}
	return nil
}

// Download gets a file. A problem that the server answers is returned as a *problem.Error.
func (c *Client) Download(ctx context.Context, path string) ([]byte, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("build request: %w", err)
	}
	c.setHeaders(r, nil)
	response, err := c.http.Do(r)
	if err != nil {
		return nil, nil, fmt.Errorf("no answer from %s: %w (is `tollgate up` running?)", c.server, err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("read answer: %w", err)
	}
	if response.StatusCode >= 300 {
		return nil, nil, failure(response, data)
	}
	return data, response.Header, nil
}

func (c *Client) setHeaders(r *http.Request, headers []string) {
	r.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	var after []string
	for _, log := range slices.Sorted(maps.Keys(c.positions)) {
		after = append(after, fmt.Sprintf("%s=%d", log, c.positions[log]))
	}
	if len(after) > 0 {
		r.Header.Set(operation.HeaderAfter, strings.Join(after, ", "))
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
}

func (c *Client) note(position string) {
	log, number, ok := strings.Cut(position, "=")
	if n, err := strconv.ParseUint(number, 10, 64); ok && err == nil {
		c.positions[log] = max(c.positions[log], n)
	}
}

func failure(response *http.Response, data []byte) error {
	var doc problem.Document
	if err := json.Unmarshal(data, &doc); err != nil || doc.Code == "" {
		return fmt.Errorf("the server answered %s", response.Status)
	}
	e := doc.ToError()
	if e.Kind == problem.Internal {
		return errors.New(doc.Detail)
	}
	return e
}
