// Package suite runs Tollgate's services and the engines they need in one process: NATS in process, PostgreSQL and the
// ClickHouse engine as supervised children. The services are the same values that their own commands run.
package suite

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/libs/notify"
)

// ServiceNames are the services in the order in which they start.
var ServiceNames = []string{"identity", "catalog", "subscription", "metering", "analytics", "billing", "gateway"}

// Config says what to run and where.
type Config struct {
	// Data is the directory that holds everything that lasts.
	Data string
	// Listen is the gateway's address for clients, Admin that of the management API.
	Listen, Admin string
	// Services to run; nil means all, an empty list the engines alone.
	Services []string
	// Sample loads the weather sample and serves its upstream.
	Sample bool
	// NATSURL, PostgresURL and ClickHouseURL name real servers to use in place of the embedded engines. The role of
	// PostgresURL must be able to make databases and roles.
	NATSURL, PostgresURL, ClickHouseURL string
	// MailURL and MailFrom say how mail leaves (see libs/notify); by default it is put into files in the folder mail.
	MailURL, MailFrom string
	// AllowPrivate lets webhooks, references of OpenAPI documents and OpenID providers be at loopback and private addresses.
	AllowPrivate bool
	// Program is how people call the binary, for the commands that are printed.
	Program string
	// ClickHouseChild is the command that runs the ClickHouse engine's process.
	ClickHouseChild []string
	// Out receives the progress and the summary.
	Out io.Writer
}

// ParseServices reads the value of --services: a list of names, "all" or "none".
func ParseServices(text string) ([]string, error) {
	switch text {
	case "", "all":
		return ServiceNames, nil
	case "none":
		return []string{}, nil
	}
	names := []string{}
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(ServiceNames, name) {
			return nil, fmt.Errorf("--services: %q is not a service; want some of %s, or all, or none", name, strings.Join(ServiceNames, ", "))
		}
		names = append(names, name)
	}
	return names, nil
}

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.Data == "" {
		errs = append(errs, errors.New("--data: is empty; name a directory"))
	}
	for flag, address := range map[string]string{"--listen": c.Listen, "--admin": c.Admin} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			errs = append(errs, fmt.Errorf("%s: %q is not host:port, as in 127.0.0.1:8080", flag, address))
		}
	}
	if c.Sample && !(c.runs("gateway") && c.runs("identity") && c.runs("catalog") && c.runs("subscription")) {
		errs = append(errs, errors.New("--sample: needs the services identity, catalog, subscription and gateway"))
	}
	if c.MailURL != "" {
		errs = append(errs, c.notify().Validate())
	}
	return errors.Join(errs...)
}

// notify says how mail and webhooks leave.
func (c Config) notify() notify.Config {
	n := notify.Config{MailURL: c.MailURL, MailFrom: c.MailFrom, WebhookAllowPrivate: c.AllowPrivate}
	if n.MailURL == "" {
		n.MailURL = (&url.URL{Scheme: "file", Path: c.path("mail")}).String()
	}
	return n
}

func (c Config) runs(service string) bool { return slices.Contains(c.Services, service) }

// Ready is what DIR/ready.json tells programs about a running suite.
type Ready struct {
	Gateway        string         `json:"gateway,omitempty"`
	Admin          string         `json:"admin,omitempty"`
	AdminTokenFile string         `json:"adminTokenFile,omitempty"`
	ClickHouse     string         `json:"clickhouse"`
	NATS           string         `json:"nats"`
	Postgres       string         `json:"postgres"`
	PID            int            `json:"pid"`
	Children       map[string]int `json:"children"`
	// SampleKeyFile and SampleUpstream are there with --sample.
	SampleKeyFile  string `json:"sampleKeyFile,omitempty"`
	SampleUpstream string `json:"sampleUpstream,omitempty"`
}

// claim names an address that is taken before anything is started, and gives port 0 a number.
func claim(flag string, address *string) error {
	l, err := net.Listen("tcp", *address)
	if err != nil {
		return fmt.Errorf("%s: %s cannot be listened on: %w; choose another address with %s", flag, *address, rootCause(err), flag)
	}
	if _, port, _ := net.SplitHostPort(*address); port == "0" {
		*address = l.Addr().String()
	}
	return l.Close()
}

func rootCause(err error) error {
	var syscallErr *os.SyscallError
	if errors.As(err, &syscallErr) {
		return syscallErr.Err
	}
	return err
}

func (c Config) path(elements ...string) string {
	return filepath.Join(append([]string{c.Data}, elements...)...)
}
