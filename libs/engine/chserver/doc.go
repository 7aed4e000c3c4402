// Package chserver serves the ClickHouse engine of a shared library (libchdb) over ClickHouse's HTTP interface, well enough for
// clickhouse-go (HTTP protocol), Grafana and curl to talk to it as to a server.
//
// It owns the library's binding, the engine's configuration in its data directory and the HTTP interface. It guarantees that
//   - a request has a session of its own: settings, SET, USE and temporary tables end with it;
//   - results in formats that are rows or blocks in a row (Native, RowBinary, CSV, TabSeparated, JSONEachRow and the like) are
//     streamed in bounded memory, and inserts of any size and format too; other formats are built in memory as a whole;
//   - a query ends with its client's connection, with KILL QUERY or with its time limit, and frees its place;
//   - a query over the memory limit fails with code 241 and nothing else does;
//   - a result that breaks off is never mistaken for a complete one;
//   - SQL reaches no file, address or program of the machine: the table functions and engines that do are not granted.
//
// It runs in a process of its own, as a native crash would take down everything beside it: see engine.StartClickHouse, and RunChild
// for the process. Only libs/engine and the binaries that are such a process may import it.
package chserver
