// Package eventlog owns how a service keeps its history and how others learn of it: the log of events in the service's
// PostgreSQL database, its replica on JetStream, and the followers of such replicas.
//
// # Append
//
// A command is one transaction, run by Execute: load the stream of an aggregate, decide, append events, write the
// service's own tables. Positions in a log are 1, 2, 3, … without a gap, in commit order, also when transactions are
// rolled back or run at the same time: they come from a counter row that is raised by the last statement of the
// transaction. So a reader that has seen position n has seen everything up to n, always. Versions are the same within a
// stream. A stream belongs to one tenant; the table is under row-level security (see libs/postgres).
//
// # Replica
//
// A Relay copies the log to the JetStream stream EV_<LOG>, with one invariant: the sequence of a message is its event's
// position. Each message is published with the sequence expected before it, so that lost acknowledgements, several
// relays, a restarted or emptied server can neither duplicate nor reorder nor skip an event. The table is the truth: the
// stream can be lost at any time and is filled again.
//
// # Followers
//
// A Follower applies another log (or its own service's) to its database, in order, each event exactly once: its offset
// is written in the transaction of the effect. Handlers touch nothing but that transaction; what must happen outside
// (mail, payments, webhooks) is a job row written there and done by a worker.
//
// # Epochs
//
// Restoring a backup makes positions come again with other events. It therefore begins a new epoch (Relay.BeginEpoch);
// the stream is replaced and followers that have applied events that are gone refuse to go on until they are reset.
//
// Names in this package follow the design's vocabulary: a log is a service's sequence of events, a stream (type, id)
// is the part of one aggregate; the JetStream stream is called the replica.
//
// A service's app, store and follow folders may import this package; domain does not need it.
package eventlog
