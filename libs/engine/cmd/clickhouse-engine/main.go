// Command clickhouse-engine is the process that engine.StartClickHouse runs. It is not for use by hand: it takes its order from
// standard input and its socket from its parent.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/tollgate/tollgate/libs/engine/chserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := chserver.RunChild(ctx, os.Stdin, log); err != nil {
		log.Error("the ClickHouse engine ends", "error", err)
		os.Exit(1)
	}
}
