package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// servers are nginx as upstream and as the bare proxy, the suite without a gateway, and a gateway process.
type servers struct {
	dir                          string
	upstream, plain, gate, admin string
	key                          string
	nginx, suite, gateway        *exec.Cmd
	workers                      []int
}

const nginxConfig = `
daemon off; worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/nginx-error.log;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;
  client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
  upstream backend { server %[2]s; keepalive 256; keepalive_requests 1000000000; }
  server { listen %[3]s; location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}
`

const upstreamConfig = `
daemon off; worker_processes 1; pid %[1]s/upstream.pid; error_log %[1]s/upstream-error.log;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; default_type application/json;
  client_body_temp_path %[1]s/u1; proxy_temp_path %[1]s/u2; fastcgi_temp_path %[1]s/u3; uwsgi_temp_path %[1]s/u4; scgi_temp_path %[1]s/u5;
  server { listen %[2]s; location / { return 200 '%[3]s'; } }
}
`

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
  upstream: {targets: [{url: "http://%s"}], timeout: 10s}
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
---
apiVersion: tollgate/v1
kind: Account
metadata: {name: bench}
spec: {title: Bench, currency: USD}
---
apiVersion: tollgate/v1
kind: Application
metadata: {name: bench-app, account: bench}
spec: {title: Bench}
---
apiVersion: tollgate/v1
kind: Subscription
metadata: {name: bench, application: bench-app}
spec: {plan: bench, product: bench}
`

func startServers(ctx context.Context, o options) (*servers, error) {
	dir, err := os.MkdirTemp("", "tollgate-bench-")
	if err != nil {
		return nil, err
	}
	s := &servers{dir: dir}
	if err := os.Chmod(dir, 0o711); err != nil {
		return s, err
	}
	addresses := make([]string, 4)
	for i := range addresses {
		if addresses[i], err = freeAddress(); err != nil {
			return s, err
		}
	}
	s.upstream, s.plain, s.gate, s.admin = addresses[0], addresses[1], addresses[2], addresses[3]
	return s, errors.Join(s.startNginx(ctx), s.startTollgate(ctx, o))
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// startNginx starts the upstream and the proxy; both run one worker.
func (s *servers) startNginx(ctx context.Context) error {
	body := `{"id":"019ab2f0","items":[` + strings.Repeat(`{"sku":"a-1","price":"12.50"},`, 8) + `{"sku":"a-2","price":"1.00"}]}`
	for name, text := range map[string]string{
		"upstream": fmt.Sprintf(upstreamConfig, s.dir, s.upstream, body),
		"nginx":    fmt.Sprintf(nginxConfig, s.dir, s.upstream, s.plain),
	} {
		path := filepath.Join(s.dir, name+".conf")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "nginx", "-c", path)
		cmd.Stderr = os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start nginx: %w (Debian: apt-get install nginx-light wrk)", err)
		}
		if name == "nginx" {
			s.nginx = cmd
		} else {
			defer func(upstream *exec.Cmd) { s.workers = append(s.workers, upstream.Process.Pid) }(cmd)
		}
	}
	return errors.Join(await(ctx, "http://"+s.upstream+"/", ""), await(ctx, "http://"+s.plain+"/", ""))
}

func (s *servers) startTollgate(ctx context.Context, o options) error {
	data := filepath.Join(s.dir, "data")
	s.suite = exec.CommandContext(ctx, filepath.Join(o.root, "bin", "tollgate"), "up", "--data", data,
		"--services", "identity,catalog,subscription,metering,analytics,billing")
	s.suite.Stderr = os.Stderr
	if err := s.suite.Start(); err != nil {
		return fmt.Errorf("start the suite: %w (run make build first)", err)
	}
	var ready struct{ NATS string }
	if err := readWhenThere(ctx, filepath.Join(data, "ready.json"), &ready); err != nil {
		return err
	}
	s.gateway = exec.CommandContext(ctx, filepath.Join(o.root, "bin", "gateway"), "--name", "bench", "--listen", s.gate,
		"--admin-listen", s.admin, "--data-dir", filepath.Join(s.dir, "gateway"), "--nats-url", ready.NATS, "--log-level", "warn", "--upstream-allow-loopback")
	s.gateway.Stderr = os.Stderr
	if err := s.gateway.Start(); err != nil {
		return fmt.Errorf("start the gateway: %w", err)
	}
	if err := await(ctx, "http://"+s.admin+"/healthz", ""); err != nil {
		return err
	}
	return s.publish(ctx, o, data)
}

// publish makes the API, its plan and a key, and waits until a call succeeds.
func (s *servers) publish(ctx context.Context, o options, data string) error {
	secret, err := os.ReadFile(filepath.Join(data, "admin-token"))
	if err != nil {
		return err
	}
	token := strings.TrimSpace(string(secret))
	file := filepath.Join(s.dir, "bench.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, resources, s.upstream), 0o600); err != nil {
		return err
	}
	apply := exec.CommandContext(ctx, filepath.Join(o.root, "bin", "tollgate"), "apply", "-f", file, "--server", "http://"+s.admin, "--token", token)
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("apply: %w\n%s", err, out)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.admin+"/identity/v1/applications/bench-app/credentials", bytes.NewReader([]byte(`{"title":"Bench"}`)))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var issued struct{ Key string }
	if err := json.NewDecoder(response.Body).Decode(&issued); err != nil {
		return err
	}
	s.key = issued.Key
	return await(ctx, "http://"+s.gate+"/bench/item", s.key)
}

func (s *servers) contenders() []*contender {
	return []*contender{
		{name: "nginx proxy_pass", url: "http://" + s.plain + "/item", pids: processTree(s.nginx.Process.Pid)},
		{name: "tollgate full pipeline", url: "http://" + s.gate + "/bench/item", header: "X-API-Key: " + s.key, pids: []int{s.gateway.Process.Pid}},
	}
}

// processTree returns a process and its children: nginx's master and worker.
func processTree(pid int) []int {
	pids := []int{pid}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return pids
	}
	for text := range strings.FieldsSeq(string(children)) {
		if child, err := strconv.Atoi(text); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

func (s *servers) stop() error {
	var errs []error
	for _, cmd := range []*exec.Cmd{s.gateway, s.suite, s.nginx} {
		if cmd != nil && cmd.Process != nil {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	}
	for _, pid := range s.workers {
		errs = append(errs, syscall.Kill(pid, syscall.SIGTERM))
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

func await(ctx context.Context, url, key string) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	var last error
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if key != "" {
			r.Header.Set("X-API-Key", key)
		}
		response, err := http.DefaultClient.Do(r)
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(response.Status)
		}
		last = err
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", url, last)
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
