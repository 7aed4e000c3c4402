// Package engine runs the real database engines of a standalone Tollgate as supervised child processes: a PostgreSQL
// server and the ClickHouse engine.
//
// It owns finding the installed engines, preparing their data directories, starting, supervising and stopping the
// processes, and the passwords of what it creates.
//
// It guarantees that
//   - servers listen on loopback only and take no connection without a generated password;
//   - a server that dies is started again on the same port and the same data, with increasing pauses;
//   - no process outlives its parent, not even a parent that was killed with SIGKILL (on Linux);
//   - data acknowledged by a server survives SIGKILL of the server and of the parent.
//
// Only the program that composes all services (deploy/tollgate) and libs/testkit may import it. A service is given the
// URL of a database and does not know who runs it.
package engine
