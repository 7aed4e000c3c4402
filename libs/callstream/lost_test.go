package callstream_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/testkit"
)

// proxy stands between a client and the server, and can keep back what the server says and cut the connections. Server and
// consumer live on.
type proxy struct {
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu       sync.Mutex
	holding  bool
	held     bytes.Buffer
	released *sync.Cond
	open     map[net.Conn]bool
}

func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, server: strings.TrimPrefix(server, "nats://"), open: map[net.Conn]bool{}}
	p.released = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
		p.running.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.open[client], p.open[server] = true, true
		p.mu.Unlock()
		p.running.Go(func() {
			_, _ = io.Copy(server, client)
			p.close(client, server)
		})
		p.running.Go(func() {
			p.answer(client, server)
			p.close(client, server)
		})
	}
}

func (p *proxy) close(connections ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range connections {
		_ = c.Close()
		delete(p.open, c)
	}
}

// answer passes on what the server says, except while it is held.
func (p *proxy) answer(client, server net.Conn) {
	chunk := make([]byte, 64<<10)
	for {
		n, err := server.Read(chunk)
		if err != nil || !p.pass(client, chunk[:n]) {
			return
		}
	}
}

func (p *proxy) pass(client net.Conn, chunk []byte) bool {
	p.mu.Lock()
	if p.holding {
		p.held.Write(chunk)
		for p.holding {
			p.released.Wait()
		}
		p.mu.Unlock()
		return false // what was held is lost with the connection
	}
	p.mu.Unlock()
	_, err := client.Write(chunk)
	return err == nil
}

// hold keeps back everything the server says from now on.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holding = true
}

// holds says whether messages of the stream are held.
func (p *proxy) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Contains(p.held.Bytes(), []byte("$JS.ACK."+bus.CallsStream))
}

// cut ends every connection and loses what is held.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close()
		delete(p.open, c)
	}
	p.holding = false
	p.released.Broadcast()
}

// consumer reads a partition as services do: from behind what it has, again after each error.
type consumer struct {
	mu        sync.Mutex
	sequences []uint64
}

func (c *consumer) run(t *testing.T, read *bus.Bus) {
	t.Helper()
	created, err := callstream.Created(t.Context(), read)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for t.Context().Err() == nil {
			_ = c.session(t, read, func() (*callstream.Reader, error) {
				return callstream.Open(t.Context(), read, partition, c.last(), created)
			})
		}
	})
	t.Cleanup(running.Wait)
}

func (c *consumer) session(t *testing.T, read *bus.Bus, open func() (*callstream.Reader, error)) error {
	t.Helper()
	testkit.Await(t, patience, func() bool { return read.Conn.IsConnected() || t.Context().Err() != nil })
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		messages, err := r.Take(t.Context(), limits)
		if err != nil {
			return err
		}
		c.note(messages)
	}
}

func (c *consumer) note(messages []callstream.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range messages {
		c.sequences = append(c.sequences, m.Sequence)
	}
}

func (c *consumer) last() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sequences) == 0 {
		return 0
	}
	return c.sequences[len(c.sequences)-1]
}

// requireAll waits for a message and makes sure that none before it is missing or there twice.
func (c *consumer) requireAll(t *testing.T, last uint64) {
	t.Helper()
	testkit.Await(t, patience, func() bool { return c.last() >= last })
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, sequence := range c.sequences {
		require.EqualValues(t, i+1, sequence, "nothing is missing")
	}
}

func connectTo(t *testing.T, url string, options ...nats.Option) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(bus.Config{URL: url, Name: "test"}, append(options, nats.ReconnectWait(1), nats.ReconnectJitter(1, 1))...)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	require.NoError(t, b.Await(t.Context()))
	return b
}

func TestWhatIsInFlightWhenTheConnectionEndsIsReadAgain(t *testing.T) {
	t.Parallel()
	for name, followed := range map[string]bool{"and others follow": true, "and nothing follows": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, publisher, _ := connect(t)
			p := newProxy(t, server.URL())
			read := connectTo(t, p.url())
			var c consumer
			c.run(t, read)
			last := publish(t, publisher, 1)
			c.requireAll(t, last)
			p.hold()
			for i := range uint64(4) {
				last = publish(t, publisher, i+2)
			}
			testkit.Await(t, patience, p.holds)
			p.cut()
			testkit.Await(t, patience, func() bool { return read.Conn.Stats().Reconnects == 1 && read.Conn.IsConnected() })
			if followed {
				last = publish(t, publisher, 6)
			}
			c.requireAll(t, last)
		})
	}
}

func TestWhatAFullBufferDropsIsReadAgain(t *testing.T) {
	t.Parallel()
	server, publisher, created := connect(t)
	p := newProxy(t, server.URL())
	slow := make(chan struct{}, 1)
	read := connectTo(t, p.url(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrSlowConsumer) {
			select {
			case slow <- struct{}{}:
			default:
			}
		}
	}))
	const n = 1100
	var last uint64
	for i := range uint64(n) {
		last = publish(t, publisher, i+1)
	}
	r, err := callstream.Open(t.Context(), read, partition, 0, created)
	require.NoError(t, err)
	var c consumer
	take := func() error {
		messages, err := r.Take(t.Context(), callstream.Limits{Calls: 1, Bytes: 1 << 20})
		c.note(messages)
		return err
	}
	require.NoError(t, take())
	testkit.Await(t, patience, func() bool { return read.Conn.Stats().InMsgs >= 500 })
	// The client forgets how much it has asked for: it asks again while its buffer is full.
	p.cut()
	testkit.Await(t, patience, func() bool { return read.Conn.Stats().Reconnects == 1 && read.Conn.IsConnected() })
	for delivered(t, publisher) <= 500 && err == nil {
		err = take()
	}
	if err == nil {
		testkit.Await(t, patience, func() bool { return len(slow) > 0 })
	}
	for err == nil && c.last() < last {
		err = take()
	}
	r.Close()
	require.ErrorContains(t, err, "lost")
	require.Less(t, c.last(), last)
	c.run(t, read)
	c.requireAll(t, last)
}

// delivered returns how many messages the server has sent to the reader.
func delivered(t *testing.T, b *bus.Bus) uint64 {
	t.Helper()
	stream, err := b.JS.Stream(t.Context(), bus.CallsStream)
	require.NoError(t, err)
	most := uint64(0)
	for info := range stream.ListConsumers(t.Context()).Info() {
		most = max(most, info.Delivered.Consumer)
	}
	return most
}
