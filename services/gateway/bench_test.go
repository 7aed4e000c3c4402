package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// BenchmarkPipeline is one call through a whole gateway over two loopback connections: route, key, rate limit, quota lease, upstream,
// record. Client and upstream of the benchmark allocate nothing, so that the allocations are the gateway's.
func BenchmarkPipeline(b *testing.B) {
	for name, policies := range map[string][]*catalogv1.Policy{"full": nil, "full+validate": {{Kind: "validate", Request: true}}} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			w.meter(1 << 60)
			body := repeat("x", 290)
			answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nDate: x\r\nServer: y\r\n\r\n%s", len(body), body)
			url := listenRaw(b, func(c net.Conn, r *bufio.Reader) {
				for skipHead(r) == nil {
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			})
			api := w.api()
			api.Upstream.Targets = []*catalogv1.Target{{Url: url}}
			api.Policies = policies
			w.publish(api)
			e := w.entitlement()
			e.Limits = []*catalogv1.Limit{{Rate: 1e8, Per: "second"}, {Quota: 1 << 60, Per: "month"}}
			w.entitle(e)
			w.issue(apiKey, w.credential())
			c := w.config(b.TempDir())
			c.JournalSegmentBytes, c.JournalMaxBytes = 64<<20, 8<<30
			g := w.start(c)
			g.await("/weather/v1/current/rome", 200)
			request := fmt.Appendf(nil, "GET /weather/v1/current/rome?units=metric HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\nX-API-Key: %s\r\n\r\n", apiKey)
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", g.Addr())
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				for r := bufio.NewReaderSize(conn, 8192); pb.Next(); {
					_, writeErr := conn.Write(request)
					headErr := skipHead(r)
					_, bodyErr := r.Discard(len(body))
					if err := errors.Join(writeErr, headErr, bodyErr); err != nil {
						b.Error(err)
						return
					}
				}
			})
			testkit.Await(b, time.Minute, func() bool { return g.shipper.Unshipped() == 0 })
		})
	}
}

// skipHead reads up to the empty line after a message's head.
func skipHead(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			return nil
		}
	}
}
