package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tollgate/tollgate/libs/bus"
)

// suite is a running `tollgate up` with an API, two subscriptions and an upstream.
type suite struct {
	dir, gateway, admin, token string
	clickhouse                 string
	key, probeKey              string
	subscription               string
	probeSubscription          string
	warmup                     int
	command                    *exec.Cmd
	pids                       map[string]int
	bus                        *bus.Bus
	upstream                   *httptest.Server
}

const resources = `
apiVersion: tollgate/v1
kind: API
metadata: {name: bench}
spec: {title: Bench}
---
apiVersion: tollgate/v1
kind: APIVersion
metadata: {name: bench-v1, api: bench}
spec:
  openapi: |
    openapi: 3.1.0
    info: {title: Bench, version: "1"}
    paths: {/item: {get: {operationId: getItem, responses: {"200": {description: One}}}}}
  stage: published
  route: {hosts: ["*"], prefix: /bench, stripPrefix: true}
  upstream: {targets: [{url: "%s"}], timeout: 10s}
  authenticate: [apiKey]
---
apiVersion: tollgate/v1
kind: Product
metadata: {name: bench}
spec: {title: Bench, includes: [{apiVersion: bench-v1}]}
---
apiVersion: tollgate/v1
kind: Plan
metadata: {name: bench, product: bench}
spec:
  title: Bench
  currency: USD
  approval: auto
  limits: [{rate: 10000000, per: second, burst: 10000000}, {quota: 1000000000000, meter: calls, per: month, mode: hard}]
  prices: [{name: calls, meter: calls, model: unit, unit: "0.0001"}]
`

const consumer = `
---
apiVersion: tollgate/v1
kind: Account
metadata: {name: %[1]s}
spec: {title: Bench, currency: USD}
---
apiVersion: tollgate/v1
kind: Application
metadata: {name: %[1]s-app, account: %[1]s}
spec: {title: Bench}
---
apiVersion: tollgate/v1
kind: Subscription
metadata: {name: %[1]s, application: %[1]s-app}
spec: {plan: bench, product: bench}
`

func start(ctx context.Context, root string) (*suite, error) {
	dir, err := os.MkdirTemp("", "tollgate-bench-")
	if err != nil {
		return nil, err
	}
	s := &suite{dir: dir}
	if err := os.Chmod(dir, 0o711); err != nil { // the engines run under another user
		return s, err
	}
	body := []byte(`{"id":"019ab2f0","items":[` + strings.Repeat(`{"sku":"a-1","price":"12.50"},`, 8) + `{"sku":"a-2","price":"1.00"}]}`)
	s.upstream = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	return s, errors.Join(s.up(ctx, root))
}

func (s *suite) up(ctx context.Context, root string) error {
	data := filepath.Join(s.dir, "data")
	s.command = exec.Command(filepath.Join(root, "bin", "tollgate"), "up", "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0") //nolint:noctx // ended by a signal
	s.command.Stderr = os.Stderr
	if err := s.command.Start(); err != nil {
		return fmt.Errorf("start the suite: %w (run make build first)", err)
	}
	var ready struct {
		Gateway, Admin, AdminTokenFile, NATS, ClickHouse string

		PID      int
		Children map[string]int
	}
	if err := readWhenThere(ctx, filepath.Join(data, "ready.json"), &ready); err != nil {
		return err
	}
	s.gateway, s.admin, s.clickhouse, s.pids = ready.Gateway, ready.Admin, ready.ClickHouse, ready.Children
	s.pids["tollgate"] = ready.PID
	secret, err := os.ReadFile(ready.AdminTokenFile)
	if err != nil {
		return err
	}
	s.token = strings.TrimSpace(string(secret))
	if s.bus, err = bus.Connect(bus.Config{URL: ready.NATS, Name: "bench", Replicas: 1}); err != nil {
		return err
	}
	if err := s.bus.Await(ctx); err != nil {
		return err
	}
	return s.publish(ctx, root)
}

func (s *suite) publish(ctx context.Context, root string) error {
	file := filepath.Join(s.dir, "bench.yaml")
	text := fmt.Sprintf(resources, s.upstream.URL) + fmt.Sprintf(consumer, "bench") + fmt.Sprintf(consumer, "probe")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	apply := exec.CommandContext(ctx, filepath.Join(root, "bin", "tollgate"), "apply", "-f", file, "--server", s.admin, "--token", s.token)
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("apply: %w\n%s", err, out)
	}
	for name, to := range map[string][2]*string{"bench": {&s.key, &s.subscription}, "probe": {&s.probeKey, &s.probeSubscription}} {
		var issued struct{ Key string }
		if err := s.request(ctx, http.MethodPost, "/identity/v1/applications/"+name+"-app/credentials", `{"title":"Bench"}`, &issued); err != nil {
			return err
		}
		var subscription struct{ ID string }
		if err := s.request(ctx, http.MethodGet, "/subscription/v1/subscriptions/"+name, "", &subscription); err != nil {
			return err
		}
		*to[0], *to[1] = issued.Key, subscription.ID
		if err := s.awaitServed(ctx, issued.Key); err != nil {
			return err
		}
	}
	s.warmup = 1 // each subscription has one call that succeeded
	return nil
}

func (s *suite) request(ctx context.Context, method, path, body string, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, s.admin+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(out)
}

func (s *suite) awaitServed(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client := &http.Client{Timeout: 10 * time.Second}
	for {
		err := s.call(client, key)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API is not served: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func readWhenThere(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for {
		raw, err := os.ReadFile(path)
		if err == nil {
			return json.Unmarshal(raw, out)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the suite is not ready: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// memory tells the resident memory of each process in MB; of PostgreSQL, whose processes share memory, the proportional part of all.
func (s *suite) memory() string {
	var texts []string
	for _, name := range []string{"tollgate", "clickhouse", "postgres"} {
		total := kilobytes(s.pids[name])
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.pids[name], s.pids[name]))
		if err == nil && name == "postgres" {
			for text := range strings.FieldsSeq(string(children)) {
				if pid, err := strconv.Atoi(text); err == nil {
					total += kilobytes(pid)
				}
			}
		}
		texts = append(texts, fmt.Sprintf("%s %d MB", name, total/1024))
	}
	return strings.Join(texts, ", ")
}

// kilobytes reads the proportional set size (proc(5), smaps_rollup).
func kilobytes(pid int) int {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(rollup)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			size, _ := strconv.Atoi(strings.Fields(rest)[0]) // the kernel writes a number
			return size
		}
	}
	return 0
}

// bytesPerCall tells what a call takes on ClickHouse's disk, as the parts are now.
func (s *suite) bytesPerCall(ctx context.Context) (string, error) {
	const query = "SELECT round(sum(bytes_on_disk) / sum(rows), 1), count() FROM system.parts WHERE active AND table = 'calls' FORMAT TSV"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.clickhouse, strings.NewReader(query))
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", fmt.Errorf("ask ClickHouse for its parts: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("ask ClickHouse for its parts: %s", answer)
	}
	size, parts, _ := strings.Cut(strings.TrimSpace(string(answer)), "\t")
	return fmt.Sprintf("%s bytes a call in %s parts", size, parts), err
}

func (s *suite) stop() error {
	if s.bus != nil {
		s.bus.Close()
	}
	if s.command != nil && s.command.Process != nil {
		_ = s.command.Process.Signal(syscall.SIGTERM)
		_ = s.command.Wait()
	}
	if s.upstream != nil {
		s.upstream.Close()
	}
	return os.RemoveAll(s.dir)
}
