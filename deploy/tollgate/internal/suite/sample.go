package suite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	"github.com/tollgate/tollgate/libs/bus"
)

// loadSample serves the sample's upstream, applies its resources and makes a key for its application.
func loadSample(ctx context.Context, c Config, r *Ready, b *bus.Bus, log *slog.Logger) (stop func(), err error) {
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
	err = applySample(ctx, c, r)
	if err == nil {
		err = awaitSample(ctx, b, r)
	}
	if err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// awaitSample waits until the sample's key has been published to the gateways and the gateway has its configuration, so that the
// commands that are printed work at once.
func awaitSample(ctx context.Context, b *bus.Bus, r *Ready) error {
	key, err := os.ReadFile(r.SampleKeyFile)
	if err != nil {
		return fmt.Errorf("read the sample's key: %w", err)
	}
	sum := sha256.Sum256(bytes.TrimSpace(key))
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := published(ctx, b, hex.EncodeToString(sum[:]), r.Admin)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the sample did not reach the gateway: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func published(ctx context.Context, b *bus.Bus, credential, admin string) error {
	kv, err := b.Bucket(ctx, bus.CredentialsBucket)
	if err != nil {
		return err
	}
	if _, err := kv.Get(ctx, credential); err != nil {
		return err
	}
	var status struct {
		Revisions map[string]string `json:"revisions"`
	}
	if err := client.New(admin, "").Do(ctx, http.MethodGet, "/gateway/v1/status", nil, &status); err != nil {
		return err
	}
	for _, bucket := range []string{bus.APIsBucket, bus.EntitlementsBucket} {
		if status.Revisions[bucket] == "" || status.Revisions[bucket] == "0" {
			return fmt.Errorf("the gateway has nothing of %s yet", bucket)
		}
	}
	return nil
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
