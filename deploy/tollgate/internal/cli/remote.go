package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/client"
	"github.com/tollgate/tollgate/deploy/tollgate/internal/suite"
)

// remote is embedded in the commands that call the management API.
type remote struct {
	server
	Output string `help:"table or json." default:"table" enum:"table,json" short:"o"`
}

// server is what is called.
type server struct {
	Server string `help:"Address of the management API, as in http://127.0.0.1:8081. By default that of the sign-in (tollgate login), or of the suite that runs on --data." env:"TOLLGATE_SERVER" placeholder:"URL"`
	Token  string `help:"Personal access token. By default that of the sign-in (tollgate login), or the first administrator's of the suite that runs on --data." env:"TOLLGATE_TOKEN" placeholder:"TOKEN"`
	Data   string `help:"Data directory of a running suite." default:".data" env:"TOLLGATE_DATA" placeholder:"DIR"`
}

// showOne shows what one request answers.
func showOne(ctx context.Context, env *environment, r remote, path string) error {
	api, err := r.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := api.Do(ctx, http.MethodGet, path, nil, &raw); err != nil {
		return err
	}
	return printOne(env.stdout, r.Output, raw)
}

// client returns a client of the named server, or of the one that is signed in to, or of the suite that runs on the data directory. A
// token that is not given is one that is known for that very server: it is sent to no other.
func (r server) client() (*client.Client, error) {
	if r.Server != "" && r.Token != "" {
		return client.New(r.Server, r.Token), nil
	}
	var known []string // servers that there is a token for
	if r.Token == "" {
		kept, err := readLogin()
		if err != nil {
			return nil, err
		}
		if kept != nil && (r.Server == "" || sameServer(r.Server, kept.Server)) {
			return client.New(kept.Server, kept.Token), nil
		}
		if kept != nil {
			known = append(known, "the sign-in is to "+kept.Server)
		}
	}
	ready, err := r.runningSuite()
	if err != nil {
		return nil, err
	}
	if r.Server == "" && ready == nil {
		return nil, fmt.Errorf("no suite is running on %s: start one with `tollgate up`, sign in to another with `tollgate login`, or give --server and --token", r.Data)
	}
	if r.Server != "" && (ready == nil || !sameServer(r.Server, ready.Admin)) {
		if ready != nil && ready.Admin != "" {
			known = append(known, fmt.Sprintf("the suite on %s is at %s", r.Data, ready.Admin))
		}
		return nil, fmt.Errorf("--token is missing: no token is known for %s%s; give one, or sign in with `tollgate login %s`", r.Server, inBrackets(known), r.Server)
	}
	return r.clientOf(ready)
}

func inBrackets(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return " (" + strings.Join(list, "; ") + ")"
}

// clientOf returns a client of a running suite.
func (r server) clientOf(ready *suite.Ready) (*client.Client, error) {
	token := r.Token
	if token == "" && ready.AdminTokenFile != "" {
		secret, err := os.ReadFile(ready.AdminTokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the administrator's token: %w", err)
		}
		token = strings.TrimSpace(string(secret))
	}
	if ready.Admin == "" || token == "" {
		return nil, errors.New("the suite on this data directory runs no gateway or no identity: give --server and --token")
	}
	return client.New(ready.Admin, token), nil
}

// runningSuite returns what the suite on the data directory says of itself; nil when none runs there.
func (r server) runningSuite() (*suite.Ready, error) {
	path := filepath.Join(r.Data, "ready.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the running suite: %w", err)
	}
	var ready suite.Ready
	if err := json.Unmarshal(data, &ready); err != nil {
		return nil, fmt.Errorf("%s is not readable: %w", path, err)
	}
	return &ready, nil
}

// sameServer says whether two addresses are of one server: scheme, host and port are the same. A name is not an address that it leads to
// at the moment.
func sameServer(a, b string) bool { return a != "" && origin(a) == origin(b) }

// origin is the origin of a URL (RFC 6454, section 4), with the path below which the management API is; the text itself where it is none.
func origin(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return text
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port) + strings.TrimSuffix(u.Path, "/")
}
