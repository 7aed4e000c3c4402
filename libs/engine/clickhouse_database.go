package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// CreateDatabase makes a database, unless it is there, and returns its URL.
func (ch *ClickHouse) CreateDatabase(ctx context.Context, name string) (string, error) {
	if err := CreateClickHouseDatabase(ctx, ch.URL("default"), name); err != nil {
		return "", err
	}
	return ch.URL(name), nil
}

// CreateClickHouseDatabase makes a database, unless it is there, on the server whose HTTP interface is at serverURL
// (http://user:password@host:8123).
func CreateClickHouseDatabase(ctx context.Context, serverURL, name string) error {
	return executeOnDatabase(ctx, serverURL, "CREATE DATABASE IF NOT EXISTS", name)
}

// DropClickHouseDatabase removes a database with all that is in it. One that is not there is no error.
func DropClickHouseDatabase(ctx context.Context, serverURL, name string) error {
	return executeOnDatabase(ctx, serverURL, "DROP DATABASE IF EXISTS", name)
}

func executeOnDatabase(ctx context.Context, serverURL, statement, name string) error {
	if !databaseName.MatchString(name) {
		return fmt.Errorf("%s %q: not a usable name; use up to 63 lower case letters, digits and underscores, beginning with a letter",
			strings.ToLower(statement), name)
	}
	if err := executeClickHouse(ctx, serverURL, statement+" `"+name+"`"); err != nil {
		return fmt.Errorf("%s %s: %w", strings.ToLower(statement), name, err)
	}
	return nil
}

func executeClickHouse(ctx context.Context, serverURL, statement string) error {
	address, err := url.Parse(serverURL)
	if err != nil || address.Scheme != "http" && address.Scheme != "https" {
		// The address itself may hold a password.
		return errors.New("the server's address is not a URL such as http://user:password@host:8123")
	}
	address.Path = "/"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), strings.NewReader(statement))
	if err != nil {
		return errors.New("the server's address is not a URL such as http://user:password@host:8123")
	}
	request.Close = true // one statement; leave no idle connection behind
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	const enough = 64 << 10
	answer, err := io.ReadAll(io.LimitReader(response.Body, enough))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP status %d: %s", response.StatusCode, bytes.TrimSpace(answer))
	}
	return nil
}
