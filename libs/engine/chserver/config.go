package chserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
)

// Config says what to serve and where.
type Config struct {
	Library     string       // path of libchdb
	Data        string       // the data directory; it must exist and belong to the process's user
	Listener    net.Listener // loopback; Run closes it
	Password    string       // of the only user, order.User
	MemoryLimit int64        // bytes the engine may use; one query may use half of it
	Queries     int          // statements run side by side; more wait for their turn
	Log         *slog.Logger
}

// minMemory is what the engine needs to do anything at all.
const minMemory = 256 << 20

// Validate reports every field that cannot work.
func (c Config) Validate() error {
	var problems []error
	if c.Library == "" {
		problems = append(problems, errors.New("Library: missing, name the file libchdb.so"))
	}
	if c.Data == "" {
		problems = append(problems, errors.New("Data: missing, name a directory"))
	}
	if c.Listener == nil {
		problems = append(problems, errors.New("Listener: missing"))
	} else if address, ok := c.Listener.Addr().(*net.TCPAddr); !ok || !address.IP.IsLoopback() {
		problems = append(problems, fmt.Errorf("Listener: %v is not a loopback address, use 127.0.0.1", c.Listener.Addr()))
	}
	if c.Password == "" {
		problems = append(problems, errors.New("Password: missing, there is no access without one"))
	}
	if c.MemoryLimit < minMemory {
		problems = append(problems, fmt.Errorf("MemoryLimit: %d bytes is too little, use at least %d", c.MemoryLimit, minMemory))
	}
	if c.Queries < 1 {
		problems = append(problems, fmt.Errorf("Queries: %d, use at least 1", c.Queries))
	}
	if c.Log == nil {
		problems = append(problems, errors.New("Log: missing"))
	}
	return errors.Join(problems...)
}
