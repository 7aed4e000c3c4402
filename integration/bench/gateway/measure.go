package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

type round struct {
	perSecond float64
	cpuMicros float64
	p50, p99  string
}

// clockTick is the unit of the CPU times in /proc, in microseconds: USER_HZ is 100 on every Linux.
const clockTick = 10_000

func measure(ctx context.Context, o options, c *contender) (round, error) {
	before, err := cpuTicks(c.pids)
	if err != nil {
		return round{}, err
	}
	args := []string{"-t", "2", "-c", strconv.Itoa(o.connections), "-d", fmt.Sprintf("%ds", int(o.duration/time.Second)), "--latency"}
	if c.header != "" {
		args = append(args, "-H", c.header)
	}
	out, err := exec.CommandContext(ctx, "wrk", append(args, c.url)...).CombinedOutput()
	if err != nil {
		return round{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	after, err := cpuTicks(c.pids)
	if err != nil {
		return round{}, err
	}
	return parse(out, after-before)
}

var (
	requestsLine = regexp.MustCompile(`(\d+) requests in`)
	rateLine     = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	p50Line      = regexp.MustCompile(`50%\s+(\S+)`)
	p99Line      = regexp.MustCompile(`99%\s+(\S+)`)
)

func parse(out []byte, ticks uint64) (round, error) {
	if bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		return round{}, fmt.Errorf("not every answer was a success:\n%s", out)
	}
	requests, rate := requestsLine.FindSubmatch(out), rateLine.FindSubmatch(out)
	p50, p99 := p50Line.FindSubmatch(out), p99Line.FindSubmatch(out)
	if requests == nil || rate == nil || p50 == nil || p99 == nil {
		return round{}, fmt.Errorf("wrk printed something else:\n%s", out)
	}
	n, err := strconv.ParseFloat(string(requests[1]), 64)
	perSecond, rateErr := strconv.ParseFloat(string(rate[1]), 64)
	if err := errors.Join(err, rateErr); err != nil {
		return round{}, err
	}
	return round{perSecond: perSecond, cpuMicros: float64(ticks) * clockTick / n, p50: string(p50[1]), p99: string(p99[1])}, nil
}

// cpuTicks returns the user and system time of processes, all their threads included (proc(5), stat, fields 14 and 15).
func cpuTicks(pids []int) (uint64, error) {
	var total uint64
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		for _, f := range [][]byte{fields[11], fields[12]} {
			n, err := strconv.ParseUint(string(f), 10, 64)
			if err != nil {
				return 0, err
			}
			total += n
		}
	}
	return total, nil
}
