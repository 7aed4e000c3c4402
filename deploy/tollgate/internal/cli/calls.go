package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
)

type callsCommand struct {
	Get    callsGetCommand    `cmd:"" help:"One call by its Tollgate-Call-Id."`
	List   callsListCommand   `cmd:"" help:"The latest calls."`
	Tail   callsTailCommand   `cmd:"" help:"Calls as they come in, until Ctrl-C."`
	Export callsExportCommand `cmd:"" help:"Calls of a time as a CSV file, or as Parquet files."`
}

// callFilter chooses calls. Names and ids are taken alike.
type callFilter struct {
	API          string `help:"Only this API." placeholder:"NAME"`
	Operation    string `help:"Only this operation." placeholder:"ID"`
	Account      string `help:"Only this account." placeholder:"NAME"`
	Application  string `help:"Only this application." placeholder:"NAME"`
	Subscription string `help:"Only this subscription." placeholder:"NAME"`
	Method       string `help:"Only this method." placeholder:"METHOD"`
	Status       string `help:"Only this status (404) or class (4xx)." placeholder:"STATUS"`
	Billable     string `help:"Only those that are billable (true), or are not (false)." placeholder:"BOOL"`
	Error        string `help:"Only those that a gateway answered with this problem, as in quota-exceeded." placeholder:"CODE"`
	Slower       string `help:"Only those that took so long or longer, as in 250ms." placeholder:"DURATION"`
	Search       string `help:"Words that are all in the path or in the error." placeholder:"WORDS"`
}

func (f *callFilter) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"api": f.API, "operation": f.Operation, "account": f.Account, "application": f.Application, "subscription": f.Subscription,
		"method": f.Method, "status": f.Status, "billable": f.Billable, "error": f.Error, "latencyFrom": f.Slower, "search": f.Search,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// span is a time, half-open.
type span struct {
	From string `help:"Start, as in 2026-11-01 or 2026-11-01T00:00:00Z; a day before --to by default." placeholder:"TIME"`
	To   string `help:"End (not included); now by default." placeholder:"TIME"`
}

func (s *span) add(query url.Values) error {
	for name, text := range map[string]string{"from": s.From, "to": s.To} {
		if text == "" {
			continue
		}
		at, err := instant("--"+name, text)
		if err != nil {
			return err
		}
		query.Set(name, at)
	}
	return nil
}

// callColumns are those of tables of calls.
var callColumns = []string{"call", "completedAt", "method", "path", "status", "billable", "reason"}

type callsGetCommand struct {
	Call string `arg:"" help:"The Tollgate-Call-Id of the answer, as in gw1.17.123456."`
	remote
}

// Run shows one call.
func (c *callsGetCommand) Run(ctx context.Context, env *environment) error {
	return showOne(ctx, env, c.remote, "/analytics/v1/calls/"+url.PathEscape(c.Call))
}

type callsListCommand struct {
	callFilter
	span
	Limit int `help:"Most calls to show." default:"20"`
	remote
}

// Run lists calls, the latest first.
func (c *callsListCommand) Run(ctx context.Context, env *environment) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	query := c.query()
	if err := c.add(query); err != nil {
		return err
	}
	query.Set("limit", fmt.Sprint(c.Limit))
	var page operation.List[json.RawMessage]
	if err := api.Do(ctx, http.MethodGet, "/analytics/v1/calls?"+query.Encode(), nil, &page); err != nil {
		return err
	}
	return printList(env.stdout, c.Output, page.Items, callColumns...)
}

type callsTailCommand struct {
	callFilter
	remote
}

// retryTail is the pause after a failure: the service may be starting again.
const retryTail = 2 * time.Second

// Run prints calls as they are landed, the oldest first. With --output json it prints an object a line.
func (c *callsTailCommand) Run(ctx context.Context, env *environment) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	query := c.query()
	for first := true; ; first = false {
		var page struct {
			Items   []json.RawMessage `json:"items"`
			Skipped uint64            `json:"skipped"`
			Next    string            `json:"next"`
		}
		err := api.Do(ctx, http.MethodGet, "/analytics/v1/calls/tail?"+query.Encode(), nil, &page)
		switch {
		case ctx.Err() != nil:
			return nil // Ctrl-C
		case err != nil && first:
			return err
		case err != nil:
			fmt.Fprintf(env.stderr, "tollgate: %s; trying again\n", err)
			if !sleep(ctx, retryTail) {
				return nil
			}
			continue
		}
		query.Set("cursor", page.Next)
		if page.Skipped > 0 {
			fmt.Fprintf(env.stderr, "%d calls were left out: they come in faster than they are shown\n", page.Skipped)
		}
		if err := printTail(env.stdout, c.Output, page.Items); err != nil {
			return err
		}
	}
}

func printTail(w io.Writer, format string, items []json.RawMessage) error {
	for _, item := range items {
		if format == "json" {
			if _, err := fmt.Fprintf(w, "%s\n", item); err != nil {
				return err
			}
			continue
		}
		var c struct {
			Call, Method, Path, Reason string
			CompletedAt                time.Time
			Status, TotalMicros        int
		}
		if err := json.Unmarshal(item, &c); err != nil {
			return fmt.Errorf("show: %w", err)
		}
		took := (time.Duration(c.TotalMicros) * time.Microsecond).Round(100 * time.Microsecond)
		if _, err := fmt.Fprintf(w, "%s  %d  %-6s %s  %v  %s %s\n", c.CompletedAt.Format("15:04:05.000"), c.Status, c.Method, c.Path, took, c.Call, c.Reason); err != nil {
			return err
		}
	}
	return nil
}

// sleep returns false when ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

type callsExportCommand struct {
	callFilter
	span
	Format string `help:"csv or parquet." default:"csv" enum:"csv,parquet"`
	File   string `short:"f" required:"" help:"File to write. Parquet is written to one file a page: FILE, FILE.2, FILE.3, …" placeholder:"FILE"`
	remote
}

// Run writes calls, the oldest first. Pages are fetched one after the other; the files are there whole or not at all.
func (c *callsExportCommand) Run(ctx context.Context, env *environment) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	query := c.query()
	if err := c.add(query); err != nil {
		return err
	}
	query.Set("format", c.Format)
	out := &exported{name: c.File, joined: c.Format == "csv"}
	defer out.discard()
	for path := "/analytics/v1/calls/export?" + query.Encode(); path != ""; {
		body, header, err := api.Download(ctx, path)
		if err != nil {
			return err
		}
		if err := out.add(body); err != nil {
			return err
		}
		fmt.Fprintf(env.stderr, "\r%d pages, %d bytes", out.pages, out.bytes)
		path = next(header.Get("Link"))
	}
	fmt.Fprintln(env.stderr)
	return out.keep()
}

// next returns the target of a link to the next page (RFC 8288).
func next(link string) string {
	target, rest, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.Contains(rest, `rel="next"`) {
		return ""
	}
	return target
}

// exported are files in the making.
type exported struct {
	name   string
	joined bool
	pages  int
	bytes  int
	parts  []*os.File
}

const partSuffix = ".part"

func (e *exported) add(page []byte) error {
	e.pages++
	if e.joined && e.pages > 1 { // the column names are there already
		_, rest, _ := strings.Cut(string(page), "\n")
		page = []byte(rest)
	}
	if !e.joined || e.pages == 1 {
		name := e.name
		if e.pages > 1 {
			name = fmt.Sprintf("%s.%d", e.name, e.pages)
		}
		file, err := os.OpenFile(name+partSuffix, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		e.parts = append(e.parts, file)
	}
	n, err := e.parts[len(e.parts)-1].Write(page)
	e.bytes += n
	return err
}

// keep gives the files their names.
func (e *exported) keep() error {
	for _, file := range e.parts {
		err := errors.Join(file.Sync(), file.Close())
		if err == nil {
			err = os.Rename(file.Name(), strings.TrimSuffix(file.Name(), partSuffix))
		}
		if err != nil {
			return err
		}
	}
	e.parts = nil
	return nil
}

func (e *exported) discard() {
	for _, file := range e.parts {
		_ = file.Close() // it is thrown away
		_ = os.Remove(file.Name())
	}
}
