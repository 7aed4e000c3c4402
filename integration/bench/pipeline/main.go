// Command pipeline measures the whole way of a call: for a minute it sends calls at a steady rate through the gateway of a
// suite, and from time to time a call of a second subscription, of which it waits until ClickHouse and metering have it. It prints
// the rate that was answered, how late calls arrive (median, p99), how long the rest takes when the load ends, whether every
// answered call landed and was metered, the memory of each process before and after, and the bytes that ClickHouse keeps of a call.
// It needs `make build` before it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"time"
)

type options struct {
	root        string
	rate        int
	duration    time.Duration
	connections int
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", ".", "the checkout")
	flag.IntVar(&o.rate, "rate", 2000, "calls a second; 0 sends as fast as they are answered")
	flag.DurationVar(&o.duration, "duration", time.Minute, "length of the load")
	flag.IntVar(&o.connections, "connections", 32, "connections of the load")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	s, err := start(ctx, o.root)
	if s != nil {
		defer func() { err = errors.Join(err, s.stop()) }()
	}
	if err != nil {
		return err
	}
	fmt.Println("memory before:", s.memory())
	loaded, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	var answered atomic.Int64
	probes := make(chan []probe, 1)
	go func() { probes <- s.probe(loaded) }()
	begun := time.Now()
	if err := s.load(loaded, o, &answered); err != nil {
		return err
	}
	took := time.Since(begun)
	measured := <-probes
	fmt.Printf("answered: %d calls in %.1f s = %.0f calls/s\n", answered.Load(), took.Seconds(), float64(answered.Load())/took.Seconds())
	print(measured, "ClickHouse", func(p probe) time.Duration { return p.landed })
	print(measured, "metering", func(p probe) time.Duration { return p.metered })
	if err := s.settle(ctx, answered.Load()+int64(s.warmup), time.Now()); err != nil {
		return err
	}
	fmt.Println("memory after: ", s.memory())
	size, err := s.bytesPerCall(ctx)
	fmt.Println("ClickHouse:", size)
	return err
}

func print(probes []probe, where string, lag func(probe) time.Duration) {
	if len(probes) == 0 {
		fmt.Println("no probe came through")
		return
	}
	lags := make([]time.Duration, len(probes))
	for i, p := range probes {
		lags[i] = lag(p)
	}
	slices.Sort(lags)
	at := func(percent int) time.Duration { return lags[(len(lags)-1)*percent/100].Round(time.Millisecond) }
	fmt.Printf("lag until %-10s of %d calls: median %v, p90 %v, p99 %v, max %v\n", where, len(lags), at(50), at(90), at(99), at(100))
}
