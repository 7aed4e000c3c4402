// Command nats-server is a NATS server with JetStream that a test can kill: testkit runs it for the option OwnProcess. It prints its port and serves
// until its standard input ends.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	options := &server.Options{ServerName: "testkit", Host: "127.0.0.1", NoLog: true, NoSigs: true, JetStream: true}
	flag.IntVar(&options.Port, "port", server.RANDOM_PORT, "port on 127.0.0.1, -1 for a free one")
	flag.StringVar(&options.StoreDir, "store", "", "JetStream's folder")
	flag.BoolVar(&options.SyncAlways, "sync", false, "sync each write before it is acknowledged")
	flag.Parse()
	if err := run(options); err != nil {
		fmt.Fprintln(os.Stderr, "nats-server:", err)
		os.Exit(1)
	}
}

func run(options *server.Options) error {
	running, err := server.NewServer(options)
	if err != nil {
		return err
	}
	running.Start()
	if !running.ReadyForConnections(10*time.Second) || !running.JetStreamEnabled() {
		return fmt.Errorf("the server is not ready on port %d", options.Port)
	}
	fmt.Println(options.Port)
	_, err = io.Copy(io.Discard, os.Stdin)
	running.Shutdown()
	running.WaitForShutdown()
	return err
}
