package chserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"github.com/tollgate/tollgate/libs/engine/chserver/order"
)

// RunChild is the main function of a ClickHouse process as engine.StartClickHouse starts it: it reads its order from stdin and serves on
// the socket it inherited until ctx ends or the parent is gone, which closes stdin.
func RunChild(ctx context.Context, stdin io.Reader, log *slog.Logger) error {
	lines := bufio.NewReader(stdin)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the order from standard input: %w", err)
	}
	var given order.Order
	if err := json.Unmarshal(line, &given); err != nil {
		return fmt.Errorf("read the order from standard input: %w", err)
	}
	socket := os.NewFile(order.ListenerFile, "listener")
	listener, err := net.FileListener(socket)
	if err != nil {
		return fmt.Errorf("use the inherited socket: %w", err)
	}
	if err := socket.Close(); err != nil {
		return fmt.Errorf("use the inherited socket: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, lines) // however it ends, the parent is gone
		cancel()
	}()
	return Run(ctx, Config{
		Library: given.Library, Data: given.Data, Listener: listener, Password: given.Password,
		MemoryLimit: given.MemoryLimit, Queries: given.Queries, Log: log,
	})
}
