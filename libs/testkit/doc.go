// Package testkit gives tests the real engines: a PostgreSQL server, the ClickHouse engine and a NATS server with JetStream.
//
// It owns their start, their sharing and their removal:
//   - PostgreSQL and the ClickHouse engine are started once in a test binary, by the first test that asks, and every call
//     gives a fresh database, dropped at the test's end;
//   - each NATS server belongs to one test and keeps its store over restarts;
//   - nothing is left running or on disk when the test binary ends, however it ends;
//   - a missing engine fails the test and says what to do; no test is ever skipped.
//
// TOLLGATE_TEST_POSTGRES_URL and TOLLGATE_TEST_CLICKHOUSE_URL name servers to use in place of the shared ones; the URLs must be
// those of an administrator (in PostgreSQL a superuser).
//
// Only tests may import it: no binary of Tollgate links it.
package testkit
