package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/client"
	"github.com/tollgate/tollgate/deploy/tollgate/internal/suite"
)

// remote is embedded in the commands that call the management API.
type remote struct {
	Server string `help:"Address of the management API, as in http://127.0.0.1:8081. By default that of the sign-in (tollgate login), or of the suite that runs on --data." env:"TOLLGATE_SERVER" placeholder:"URL"`
	Token  string `help:"Personal access token. By default that of the sign-in (tollgate login), or the first administrator's of the suite that runs on --data." env:"TOLLGATE_TOKEN" placeholder:"TOKEN"`
	Data   string `help:"Data directory of a running suite." default:".data" env:"TOLLGATE_DATA" placeholder:"DIR"`
	Output string `help:"table or json." default:"table" enum:"table,json" short:"o"`
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

// client returns a client of the named server, or of the suite that runs on the data directory.
func (r remote) client() (*client.Client, error) {
	if r.Server != "" && r.Token != "" {
		return client.New(r.Server, r.Token), nil
	}
	if r.Server == "" && r.Token == "" {
		if kept, err := keptLogin(); kept != nil || err != nil {
			return kept, err
		}
	}
	data, err := os.ReadFile(filepath.Join(r.Data, "ready.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no suite is running on %s: start one with `tollgate up`, sign in to another with `tollgate login`, or give --server and --token", r.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("find the running suite: %w", err)
	}
	var ready suite.Ready
	if err := json.Unmarshal(data, &ready); err != nil {
		return nil, fmt.Errorf("%s is not readable: %w", filepath.Join(r.Data, "ready.json"), err)
	}
	server, token := r.Server, r.Token
	if server == "" {
		server = ready.Admin
	}
	if token == "" && ready.AdminTokenFile != "" {
		secret, err := os.ReadFile(ready.AdminTokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the administrator's token: %w", err)
		}
		token = strings.TrimSpace(string(secret))
	}
	if server == "" || token == "" {
		return nil, errors.New("the suite on this data directory runs no gateway or no identity: give --server and --token")
	}
	return client.New(server, token), nil
}
