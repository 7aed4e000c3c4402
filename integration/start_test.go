package integration_test

import (
	"testing"

	"github.com/tollgate/tollgate/integration/harness"
)

// BenchmarkStart measures how long each service takes from its start until it is ready, as a process of its own, with databases that
// are there and the other services running.
func BenchmarkStart(b *testing.B) {
	d := harness.StartDistributed(b, 1)
	for _, service := range harness.Services {
		b.Run(service, func(b *testing.B) {
			r := d.Replicas[service][0]
			for range b.N {
				b.StopTimer()
				r.Stop(b)
				b.StartTimer()
				r.Start(b)
				r.AwaitReady(b)
			}
		})
	}
}
