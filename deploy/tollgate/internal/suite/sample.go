package suite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/client"
	"github.com/tollgate/tollgate/deploy/tollgate/internal/manifest"
	"github.com/tollgate/tollgate/deploy/tollgate/internal/sample"
)

// loadSample serves the sample's upstream, applies its resources and makes a key for its application.
func loadSample(ctx context.Context, c Config, r *Ready, log *slog.Logger) (stop func(), err error) {
	listener, err := listenAgain(c.path("sample", "address"))
	if err != nil {
		return nil, err
	}
	upstream := &http.Server{Handler: sample.Upstream(time.Now), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := upstream.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the sample's upstream ended", "error", err)
		}
	}()
	stop = func() { _ = upstream.Close() }
	r.SampleUpstream = "http://" + listener.Addr().String()
	if err := applySample(ctx, c, r); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// listenAgain listens on the loopback port of the last time, so that the sample's resources stay the same, or on a free one.
func listenAgain(path string) (net.Listener, error) {
	if last, err := os.ReadFile(path); err == nil {
		if l, err := net.Listen("tcp", strings.TrimSpace(string(last))); err == nil {
			return l, nil
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve the upstream: %w", err)
	}
	return l, writePrivate(path, []byte(l.Addr().String()+"\n"))
}

func applySample(ctx context.Context, c Config, r *Ready) error {
	if err := sample.Write(c.path("sample")); err != nil {
		return err
	}
	items, err := manifest.Load([]string{c.path("sample", "weather")}, func(name string) (string, bool) {
		return r.SampleUpstream, name == "WEATHER_UPSTREAM"
	})
	if err != nil {
		return err
	}
	token, err := os.ReadFile(r.AdminTokenFile)
	if err != nil {
		return fmt.Errorf("read the administrator's token: %w", err)
	}
	api := client.New(r.Admin, strings.TrimSpace(string(token)))
	if _, err := api.Apply(ctx, items); err != nil {
		return err
	}
	r.SampleKeyFile = c.path("sample", "key")
	if _, err := os.Stat(r.SampleKeyFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var issued struct {
		Key string `json:"key"`
	}
	err = api.Do(ctx, http.MethodPost, "/identity/v1/applications/globex-app/credentials", map[string]string{"title": "Sample key"}, &issued)
	if err != nil {
		return err
	}
	return writePrivate(r.SampleKeyFile, []byte(issued.Key+"\n"))
}
