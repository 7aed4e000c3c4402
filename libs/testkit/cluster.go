package testkit

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATSCluster is several NATS servers that hold streams together.
type NATSCluster []*NATSServer

// StartNATSCluster starts n servers with JetStream that form a cluster, and waits until they have a leader.
func StartNATSCluster(tb testing.TB, n int) NATSCluster {
	tb.Helper()
	var routes []*url.URL
	var ports []int
	for range n {
		port := freePort(tb)
		ports = append(ports, port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	cluster := make(NATSCluster, n)
	dir := tb.TempDir()
	for i := range cluster {
		name := fmt.Sprintf("n%d", i+1)
		cluster[i] = &NATSServer{tb: tb, options: natsOptions{server: server.Options{
			ServerName: name, Host: "127.0.0.1", Port: freePort(tb), NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: filepath.Join(dir, name),
			Cluster: server.ClusterOpts{Name: "testkit", Host: "127.0.0.1", Port: ports[i]}, Routes: routes,
		}}}
		tb.Cleanup(cluster[i].Shutdown)
		cluster[i].Start()
	}
	cluster.AwaitLeader()
	return cluster
}

// freePort returns a port that nothing listens on: members of a cluster must know each other's before they start.
func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("testkit: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// URL names every server, so that a client finds one that runs.
func (c NATSCluster) URL() string {
	var all []string
	for _, s := range c {
		all = append(all, s.URL())
	}
	return strings.Join(all, ",")
}

// AwaitLeader waits until the cluster answers requests to JetStream.
func (c NATSCluster) AwaitLeader() {
	tb := c[0].tb
	tb.Helper()
	conn, err := nats.Connect(c.URL(), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true))
	if err != nil {
		tb.Fatalf("testkit: %v", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		tb.Fatalf("testkit: %v", err)
	}
	Await(tb, time.Minute, func() error {
		_, err := js.AccountInfo(tb.Context())
		return err
	})
}

// Leader returns the server that leads a stream.
func (c NATSCluster) Leader(stream string) *NATSServer {
	tb := c[0].tb
	tb.Helper()
	var leader *NATSServer
	Await(tb, time.Minute, func() error {
		for _, s := range c {
			if name, err := s.leaderOf(stream); err == nil && name != "" {
				for i, member := range c {
					if member.options.server.ServerName == name {
						leader = c[i]
						return nil
					}
				}
			}
		}
		return fmt.Errorf("the stream %s has no leader", stream)
	})
	return leader
}

func (s *NATSServer) leaderOf(stream string) (string, error) {
	conn, err := nats.Connect(s.URL(), nats.Timeout(time.Second))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return "", err
	}
	found, err := js.Stream(s.tb.Context(), stream)
	if err != nil {
		return "", err
	}
	return found.CachedInfo().Cluster.Leader, nil
}
