// Package order is what a ClickHouse process and its parent agree on. It owns the form of the order the parent gives, and nothing else: the
// parent (libs/engine) does not have to link what serves ClickHouse (chserver).
package order

// User is the only user of the ClickHouse interface.
const User = "default"

// ListenerFile is the file descriptor of the listening socket that the process inherits. It stays open in the parent, so that a process
// that is started again serves on the same port.
const ListenerFile = 3

// Order tells the process what to serve: one line of JSON on its standard input, which stays open as long as the parent lives. It holds a
// password, which must not be seen among a process's arguments or environment.
type Order struct {
	Library     string `json:"library"`      // path of libchdb
	Data        string `json:"data"`         // data directory, owned by the process's user
	Password    string `json:"password"`     // of User
	MemoryLimit int64  `json:"memory_limit"` // bytes the engine may use
	Queries     int    `json:"queries"`      // statements run side by side
}
