// Command management measures the management API under many tenants: it makes tenants with accounts, applications, a product and
// subscriptions through the API of a running suite, then reads lists and searches at random, and prints how long those took and
// what memory the suite has. Start one for it: bin/tollgate up --data DIR
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/resource"
)

type options struct {
	data                         string
	tenants, applications, reads int
	workers                      int
}

func main() {
	var o options
	flag.StringVar(&o.data, "data", ".data", "data directory of the running suite")
	flag.IntVar(&o.tenants, "tenants", 1000, "tenants to make")
	flag.IntVar(&o.applications, "applications", 10, "applications of each tenant, each with a subscription")
	flag.IntVar(&o.reads, "reads", 200, "reads of each kind")
	flag.IntVar(&o.workers, "workers", 8, "requests at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is a running suite and the tenants that were made in it.
type bench struct {
	options
	admin, token string
	pid          int
	client       *http.Client

	mu     sync.Mutex
	owners []owner
}

type owner struct{ tenant, token string }

func run(ctx context.Context, o options) error {
	b := &bench{options: o, client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: o.workers}}}
	if err := b.find(); err != nil {
		return err
	}
	fmt.Println("memory before:", b.memory())
	begun := time.Now()
	if err := b.make(ctx); err != nil {
		return err
	}
	took := time.Since(begun)
	n := o.tenants * o.applications
	fmt.Printf("made %d tenants, %d applications and %d subscriptions in %.0f s\n", o.tenants, n, n, took.Seconds())
	if err := b.settled(ctx); err != nil {
		return err
	}
	for _, r := range reads {
		if err := b.measure(ctx, r); err != nil {
			return err
		}
	}
	fmt.Println("memory after: ", b.memory())
	return nil
}

func (b *bench) find() error {
	raw, err := os.ReadFile(filepath.Join(b.data, "ready.json"))
	if err != nil {
		return fmt.Errorf("no suite runs on %s: %w", b.data, err)
	}
	var ready struct {
		Admin, AdminTokenFile string
		PID                   int
	}
	if err := json.Unmarshal(raw, &ready); err != nil {
		return err
	}
	secret, err := os.ReadFile(ready.AdminTokenFile)
	b.admin, b.token, b.pid = ready.Admin, strings.TrimSpace(string(secret)), ready.PID
	return err
}

// do sends a request and decodes the answer into out, unless it is nil.
func (b *bench) do(ctx context.Context, token, method, path string, body, out any, headers ...string) (http.Header, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	for {
		r, err := http.NewRequestWithContext(ctx, method, b.admin+path, bytes.NewReader(encoded))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		response, err := b.client.Do(r)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		switch {
		case err != nil:
			return nil, err
		case response.StatusCode == http.StatusTooManyRequests:
			time.Sleep(100 * time.Millisecond)
			continue
		case response.StatusCode >= 300:
			return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, data)
		case out == nil:
			return response.Header, nil
		}
		return response.Header, json.Unmarshal(data, out)
	}
}

// make makes the tenants, several at once.
func (b *bench) make(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(b.workers)
	for n := range b.tenants {
		group.Go(func() error { return b.makeTenant(ctx, fmt.Sprintf("bench-%06d", n)) })
	}
	return group.Wait()
}

func (b *bench) makeTenant(ctx context.Context, name string) error {
	var made struct{ OwnerToken string }
	_, err := b.do(ctx, b.token, http.MethodPost, "/identity/v1/tenants", map[string]string{"name": name, "title": name, "ownerDisplayName": "Owner"}, &made)
	if err != nil {
		return err
	}
	own := resources("Account", resource.Metadata{Name: "acme"}, `{"title":"Acme","currency":"USD"}`)
	subscriptions := []resource.Resource{}
	for i := range b.applications {
		app := fmt.Sprintf("app-%03d", i)
		own = append(own, resources("Application", resource.Metadata{Name: app, Account: "acme"}, `{"title":"App"}`)...)
		subscriptions = append(subscriptions, resources("Subscription", resource.Metadata{Name: "sub-" + app, Application: app}, `{"plan":"free"}`)...)
	}
	catalog := slices.Concat(
		resources("API", resource.Metadata{Name: "api"}, `{"title":"API"}`),
		resources("APIVersion", resource.Metadata{Name: "api-v1", API: "api"}, fmt.Sprintf(apiVersion, name)),
		resources("Product", resource.Metadata{Name: "product"}, `{"title":"Product","includes":[{"apiVersion":"api-v1"}]}`),
		resources("Plan", resource.Metadata{Name: "free", Product: "product"}, `{"title":"Free","currency":"USD","approval":"auto"}`),
	)
	after := []string{}
	for _, step := range []struct {
		service   string
		resources []resource.Resource
	}{{"identity", own}, {"catalog", catalog}, {"subscription", subscriptions}} {
		header, err := b.do(ctx, made.OwnerToken, http.MethodPost, "/"+step.service+"/v1/apply", resource.ApplyRequest{Resources: step.resources}, nil,
			operation.HeaderAfter, strings.Join(after, ", "))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		after = append(after, header.Get(operation.HeaderPosition))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owners = append(b.owners, owner{name, made.OwnerToken})
	return nil
}

const apiVersion = `{"stage":"published","authenticate":["apiKey"],"route":{"hosts":["*"],"prefix":"/%s"},"upstream":{"targets":[{"url":"http://127.0.0.1:9"}]},
"openapi":"openapi: 3.1.0\ninfo: {title: API, version: \"1\"}\npaths: {/item: {get: {operationId: getItem, responses: {\"200\": {description: One}}}}}\n"}`

func resources(kind string, m resource.Metadata, spec string) []resource.Resource {
	return []resource.Resource{{APIVersion: resource.APIVersion, Kind: kind, Metadata: m, Spec: json.RawMessage(spec)}}
}

// settled waits until the last tenant can be read everywhere.
func (b *bench) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		var page operation.List[json.RawMessage]
		_, err := b.do(ctx, b.owners[len(b.owners)-1].token, http.MethodGet, "/subscription/v1/subscriptions?limit=200", nil, &page)
		if err == nil && len(page.Items) == b.applications {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// reads are the requests that are measured; with own they are those of a tenant's owner, else of the installation.
var reads = []struct {
	name string
	own  bool
	path string
}{
	{"a page of applications", true, "/identity/v1/applications?limit=50"},
	{"a search of applications", true, "/identity/v1/applications?search=APP-00"},
	{"one application by name", true, "/identity/v1/applications/app-003"},
	{"a page of subscriptions", true, "/subscription/v1/subscriptions?limit=50"},
	{"subscriptions of an application", true, "/subscription/v1/subscriptions?application=app-005"},
	{"a search of subscriptions", true, "/subscription/v1/subscriptions?search=app-007"},
	{"one subscription by name", true, "/subscription/v1/subscriptions/sub-app-004"},
	{"a page of API versions", true, "/catalog/v1/api-versions?limit=50"},
	{"a search of products", true, "/catalog/v1/products?search=prod"},
	{"a page of plans", true, "/catalog/v1/plans?product=product"},
	{"a page of tenants", false, "/identity/v1/tenants?limit=50&cursor=bench-%06d"},
	{"a search of tenants", false, "/identity/v1/tenants?search=%06d"},
}

func (b *bench) measure(ctx context.Context, r struct {
	name string
	own  bool
	path string
},
) error {
	times := make([]time.Duration, b.reads)
	for i := range times {
		token, path := b.token, r.path
		if r.own {
			token = b.owners[rand.IntN(len(b.owners))].token
		} else {
			path = fmt.Sprintf(path, rand.IntN(b.tenants))
		}
		begun := time.Now()
		if _, err := b.do(ctx, token, http.MethodGet, path, nil, nil); err != nil {
			return err
		}
		times[i] = time.Since(begun)
	}
	slices.Sort(times)
	at := func(percent int) time.Duration { return times[(len(times)-1)*percent/100].Round(10 * time.Microsecond) }
	fmt.Printf("%-34s median %-10v p99 %v\n", r.name, at(50), at(99))
	return nil
}

// memory is what the suite's process has in memory.
func (b *bench) memory() string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.pid))
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return "tollgate " + strings.TrimSpace(rest)
		}
	}
	return "unknown"
}
