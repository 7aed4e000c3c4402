package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/client"
	"github.com/tollgate/tollgate/libs/problem"
)

type loginCommand struct {
	Server string `arg:"" help:"Address of the management API, as in https://tollgate.example.com."`
	Tenant string `help:"The tenant's name; asked for if needed." placeholder:"NAME"`
	Email  string `help:"Your e-mail address; asked for if needed." placeholder:"ADDRESS"`
	Token  bool   `help:"Sign in with a personal access token, which is read from the terminal or from standard input."`
}

// login is what is kept of a sign-in, in a file that is for this user only.
type login struct {
	Server  string `json:"server"`
	Token   string `json:"token"`
	Session string `json:"session,omitempty"`
}

// Run signs in and keeps the session's token. Passwords are asked for, not taken from the command line, where others see them.
func (l *loginCommand) Run(ctx context.Context, env *environment) error {
	ask := &prompt{in: os.Stdin, reader: bufio.NewReader(os.Stdin), env: env}
	kept := login{Server: strings.TrimSuffix(l.Server, "/")}
	var err error
	if l.Token {
		kept.Token, err = ask.secret("Personal access token: ")
	} else {
		err = l.signIn(ctx, ask, &kept)
	}
	if err != nil {
		return err
	}
	var self struct {
		DisplayName string `json:"displayName"`
	}
	if err := client.New(kept.Server, kept.Token).Do(ctx, http.MethodGet, "/identity/v1/me", nil, &self); err != nil {
		return err
	}
	if err := kept.save(); err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "Signed in to %s as %s.\n", kept.Server, self.DisplayName)
	return nil
}

func (l *loginCommand) signIn(ctx context.Context, ask *prompt, kept *login) (err error) {
	if l.Tenant == "" {
		if l.Tenant, err = ask.line("Tenant: "); err != nil {
			return err
		}
	}
	if l.Email == "" {
		if l.Email, err = ask.line("E-mail: "); err != nil {
			return err
		}
	}
	password, err := ask.secret("Password: ")
	if err != nil {
		return err
	}
	request := map[string]string{"tenant": l.Tenant, "email": l.Email, "password": password}
	var session struct {
		ID    string `json:"id"`
		Token string `json:"token"`
	}
	api := client.New(kept.Server, "")
	err = api.Do(ctx, http.MethodPost, "/identity/v1/sessions", request, &session)
	if problem.From(err).Code == secondFactorRequired {
		if request["code"], err = ask.secret("One-time password or recovery code: "); err != nil {
			return err
		}
		err = api.Do(ctx, http.MethodPost, "/identity/v1/sessions", request, &session)
	}
	kept.Token, kept.Session = session.Token, session.ID
	return err
}

// secondFactorRequired is the problem of a sign-in that lacks the second factor.
const secondFactorRequired = "second-factor-required"

type logoutCommand struct{}

// Run ends the session and forgets it.
func (*logoutCommand) Run(ctx context.Context, env *environment) error {
	kept, err := readLogin()
	if err != nil {
		return err
	}
	if kept == nil {
		fmt.Fprintln(env.stdout, "Nobody is signed in.")
		return nil
	}
	path, err := loginFile()
	if err != nil {
		return err
	}
	if kept.Session != "" {
		err = client.New(kept.Server, kept.Token).Do(ctx, http.MethodDelete, "/identity/v1/sessions/"+kept.Session, nil, nil)
	}
	if err != nil && problem.KindOf(err) != problem.Unauthenticated {
		fmt.Fprintf(env.stderr, "tollgate: the session could not be ended: %s; it is forgotten here\n", err)
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "Signed out of %s.\n", kept.Server)
	return nil
}

func loginFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the place for the sign-in: %w", err)
	}
	return filepath.Join(dir, "tollgate", "login.json"), nil
}

func (l login) save() error {
	path, err := loginFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	encoded, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+partSuffix, append(encoded, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+partSuffix, path)
}

// readLogin returns what is kept; nil when nobody is signed in.
func readLogin() (*login, error) {
	path, err := loginFile()
	if err != nil {
		return nil, nil //nolint:nilerr // without a home there is no sign-in
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the sign-in: %w", err)
	}
	var l login
	if err := json.Unmarshal(data, &l); err != nil || l.Server == "" || l.Token == "" {
		return nil, fmt.Errorf("%s is not readable: delete it and sign in again", path)
	}
	return &l, nil
}

// prompt asks on the terminal; what comes from a pipe is read line by line.
type prompt struct {
	in     *os.File
	reader *bufio.Reader
	env    *environment
}

func (p *prompt) line(question string) (string, error) {
	fmt.Fprint(p.env.stderr, question)
	text, err := p.reader.ReadString('\n')
	if text = strings.TrimSpace(text); text != "" {
		return text, nil
	}
	if err == nil {
		err = errors.New("nothing was given")
	}
	return "", fmt.Errorf("%s%w", question, err)
}

// secret asks without showing what is typed.
func (p *prompt) secret(question string) (string, error) {
	if !term.IsTerminal(int(p.in.Fd())) {
		return p.line(question)
	}
	fmt.Fprint(p.env.stderr, question)
	text, err := term.ReadPassword(int(p.in.Fd()))
	fmt.Fprintln(p.env.stderr)
	if err != nil {
		return "", fmt.Errorf("%s%w", question, err)
	}
	return strings.TrimSpace(string(text)), nil
}
