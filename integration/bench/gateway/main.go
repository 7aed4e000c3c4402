// Command gateway measures what a gateway's full pipeline costs beside a bare nginx proxy_pass, in one run, in turns: CPU
// time of the proxy per answered request, throughput and latency. Ratios are the result; on a shared machine single numbers
// are noise. It needs nginx and wrk (Debian: nginx-light, wrk), and `make build` before it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"
)

type options struct {
	root        string
	rounds      int
	duration    time.Duration
	connections int
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", ".", "the checkout")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each proxy, in turns")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "length of a round")
	flag.IntVar(&o.connections, "connections", 64, "connections of the load generator")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// contender is a proxy under test.
type contender struct {
	name   string
	url    string
	header string
	pids   []int
	rounds []round
}

func run(ctx context.Context, o options) (err error) {
	s, err := startServers(ctx, o)
	if s != nil {
		defer func() { err = errors.Join(err, s.stop()) }()
	}
	if err != nil {
		return err
	}
	contenders := s.contenders()
	for n := range o.rounds {
		for _, c := range contenders {
			r, err := measure(ctx, o, c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.rounds = append(c.rounds, r)
			fmt.Printf("round %d  %-22s %8.0f requests/s  %6.1f CPU µs/request  p50 %-8s p99 %s\n", n+1, c.name, r.perSecond, r.cpuMicros, r.p50, r.p99)
		}
	}
	report(contenders)
	return nil
}

func report(contenders []*contender) {
	base := median(contenders[0].rounds)
	fmt.Println()
	for _, c := range contenders {
		m := median(c.rounds)
		fmt.Printf("median   %-22s %8.0f requests/s  %6.1f CPU µs/request  = %.2f × %s\n", c.name, m.perSecond, m.cpuMicros, m.cpuMicros/base.cpuMicros, contenders[0].name)
	}
}

func median(rounds []round) round {
	sorted := slices.Clone(rounds)
	slices.SortFunc(sorted, func(a, b round) int {
		switch {
		case a.cpuMicros < b.cpuMicros:
			return -1
		case a.cpuMicros > b.cpuMicros:
			return 1
		}
		return 0
	})
	return sorted[len(sorted)/2]
}
