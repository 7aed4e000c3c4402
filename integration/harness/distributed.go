package harness

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/engine"
	"github.com/tollgate/tollgate/libs/testkit"
)

// sealKey is that of the services under test: 32 bytes in base64.
const sealKey = "dG9sbGdhdGUtaW50ZWdyYXRpb24tdGVzdHMtMzJiISE="

// Distributed is every service as a process of its own, each in several replicas, on the engines of a suite that runs no service.
type Distributed struct {
	Engines *Suite
	// Token is the first administrator's.
	Token    string
	Replicas map[string][]*Replica

	dir       string
	databases map[string]string
	binary    func(tb testing.TB, service string) string
}

// Replica is one process of a service.
type Replica struct {
	*Process
	Service string
	// Address of its own HTTP listener; of a gateway that of clients, and Admin that of the management API.
	Address, Admin string
	// Data is a gateway's directory.
	Data      string
	binary    string
	env, args []string
}

// StartDistributed starts the engines and replicas of every service. They are ready when it returns.
func StartDistributed(tb testing.TB, replicas int) *Distributed {
	tb.Helper()
	return StartDistributedFrom(tb, replicas, Binary)
}

// StartDistributedFrom is StartDistributed with the services' binaries from elsewhere, such as PreviousBinary.
func StartDistributedFrom(tb testing.TB, replicas int, binary func(tb testing.TB, service string) string) *Distributed {
	tb.Helper()
	d := &Distributed{dir: Dir(tb), Replicas: map[string][]*Replica{}, databases: map[string]string{}, binary: binary}
	d.Engines = Up(tb, filepath.Join(d.dir, "data"), "--services", "none")
	for _, service := range Services[:6] {
		d.databases[service] = d.database(tb, service)
	}
	for _, service := range Services {
		for n := range replicas {
			d.Replicas[service] = append(d.Replicas[service], d.replica(tb, service, n))
		}
	}
	var starts sync.WaitGroup
	for _, service := range Services {
		for _, r := range d.Replicas[service] {
			starts.Go(func() { r.AwaitReady(tb) })
		}
	}
	starts.Wait()
	secret, err := os.ReadFile(d.tokenFile())
	require.NoError(tb, err)
	d.Token = string(secret[:len(secret)-1])
	return d
}

func (d *Distributed) tokenFile() string { return filepath.Join(d.dir, "first-token") }

// database makes a service's database and role.
func (d *Distributed) database(tb testing.TB, service string) string {
	tb.Helper()
	const password = "integration-test"
	require.NoError(tb, engine.CreateDatabase(tb.Context(), d.Engines.Postgres, service, password))
	address, err := url.Parse(d.Engines.Postgres)
	require.NoError(tb, err)
	address.User, address.Path = url.UserPassword(service, password), "/"+service
	return address.String()
}

// DatabaseURL returns the address of a service's database.
func (d *Distributed) DatabaseURL(service string) string { return d.databases[service] }

func (d *Distributed) replica(tb testing.TB, service string, n int) *Replica {
	tb.Helper()
	r := &Replica{Service: service, Address: FreeAddress(tb), binary: d.binary(tb, service), env: []string{"TOLLGATE_NATS_URL=" + d.Engines.NATS}}
	if service == "gateway" {
		r.Admin = FreeAddress(tb)
		name := fmt.Sprintf("gw%d", n+1)
		r.Data = filepath.Join(d.dir, name)
		r.args = []string{"--name", name, "--listen", r.Address, "--admin-listen", r.Admin, "--data-dir", r.Data}
		r.env = append(r.env, "TOLLGATE_UPSTREAM_ALLOW_LOOPBACK=true") // the tests' upstreams are on this machine
	} else {
		r.env = append(r.env, "TOLLGATE_LISTEN="+r.Address, "TOLLGATE_POSTGRES_URL="+d.databases[service], "TOLLGATE_SEAL_KEY="+sealKey)
	}
	switch service {
	case "identity":
		r.env = append(r.env, "TOLLGATE_FIRST_TOKEN_FILE="+d.tokenFile())
	case "analytics":
		r.env = append(r.env, "TOLLGATE_CLICKHOUSE_URL="+d.Engines.ClickHouse)
	}
	r.Start(tb)
	return r
}

// Start starts the process; also again, after Kill or Stop, as it was.
func (r *Replica) Start(tb testing.TB) {
	tb.Helper()
	r.Process = Start(tb, r.env, r.binary, r.args...)
}

// Upgrade stops the process and starts the binary of this tree in its place.
func (r *Replica) Upgrade(tb testing.TB) {
	tb.Helper()
	r.Stop(tb)
	r.binary = Binary(tb, r.Service)
	r.Start(tb)
	r.AwaitReady(tb)
}

// Maintain runs a maintenance task of a service that is not a gateway, and returns the exit code and what it printed.
func (d *Distributed) Maintain(tb testing.TB, service, task string) (code int, output string) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), Binary(tb, service), task)
	cmd.Env = append(os.Environ(), d.Replicas[service][0].env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !asExit(err, &exit) {
		require.NoError(tb, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// Ended says whether the process has ended.
func (r *Replica) Ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// AwaitReady waits until the process is ready, and starts it again if it has ended.
func (r *Replica) AwaitReady(tb testing.TB) {
	tb.Helper()
	address := r.Address
	if r.Admin != "" {
		address = r.Admin
	}
	testkit.Await(tb, 2*time.Minute, func() error {
		if r.Ended() { // as one does whose database is not there when it starts; an orchestrator starts it again
			r.Start(tb)
		}
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return fmt.Errorf("%s: %w", r.Service, err)
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s is not ready: %s", r.Service, response.Status)
		}
		return nil
	})
}

// AwaitReady waits until every replica is ready.
func (d *Distributed) AwaitReady(tb testing.TB) {
	tb.Helper()
	for _, service := range Services {
		for _, r := range d.Replicas[service] {
			r.AwaitReady(tb)
		}
	}
}
