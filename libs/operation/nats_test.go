package operation_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/apibridge"
	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// behind is an API that never sees positions of the log "other" beyond 7.
func behind(t *testing.T) *operation.API {
	t.Helper()
	api, err := operation.New(operation.Config{
		Service: "demo", Log: slog.New(slog.DiscardHandler), PerSecond: 1000,
		Verify: func(signed string) (principal.Principal, error) {
			return principal.Principal{Tenant: "t1", Subject: "member:" + signed}, nil
		},
		Waiters: map[string]func(context.Context, uint64) error{"other": func(ctx context.Context, position uint64) error {
			if position <= 7 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}},
	})
	require.NoError(t, err)
	answer := func(context.Context, *struct{}) (operation.Empty, error) { return operation.Empty{}, nil }
	operation.Register(api, operation.Op[struct{}, operation.Empty]{Name: "Own", Method: "GET", Path: "/own", Handle: answer})
	operation.Register(api, operation.Op[struct{}, operation.Empty]{Name: "Open", Method: "GET", Path: "/open", Public: true, Handle: answer})
	return api
}

// Nobody who has shown no token can make the service wait.
func TestPublicOperationsDoNotWait(t *testing.T) {
	t.Parallel()
	h, err := behind(t).Handler()
	require.NoError(t, err)
	status, _, body := do(t, h, "GET", "/demo/v1/open", "", "", operation.HeaderAfter, "other=18446744073709551615")
	require.Equal(t, 204, status, body)
	document, err := behind(t).OpenAPI()
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(document), `"name": "Tollgate-After"`), "only described where it does something")
}

func TestWaitersAreBounded(t *testing.T) {
	t.Parallel()
	h, err := behind(t).Handler()
	require.NoError(t, err)
	const requests = 100
	codes := make(chan string, requests)
	for range requests {
		go func() {
			_, _, body := do(t, h, "GET", "/demo/v1/own", "m", "", operation.HeaderAfter, "other=8")
			codes <- body
		}()
	}
	for range requests - operation.MaxWaiting { // while the others still wait
		require.Contains(t, <-codes, "too-many-wait")
	}
	status, _, body := do(t, h, "GET", "/demo/v1/own", "m", "", operation.HeaderAfter, "other=7")
	require.Equal(t, 204, status, "what was seen needs no wait: %s", body)
	for range operation.MaxWaiting {
		require.Contains(t, <-codes, `"behind"`)
	}
}

// TestInternalCallsHaveTheirOwnSlots: as many requests as are answered at once cannot keep an internal call from being answered.
func TestInternalCallsHaveTheirOwnSlots(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	b, err := bus.Connect(bus.Config{URL: server.URL(), Name: "test"})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	api := behind(t)
	entered, leave := make(chan struct{}, 1000), make(chan struct{})
	operation.Register(api, operation.Op[struct{}, operation.Empty]{
		Name: "Block", Method: "GET", Path: "/block", Public: true, Timeout: time.Minute,
		Handle: func(context.Context, *struct{}) (operation.Empty, error) {
			entered <- struct{}{}
			<-leave
			return operation.Empty{}, nil
		},
	})
	operation.RPC(api, "demo.Exchange", func(context.Context, *identityv1.ExchangeRequest) (*identityv1.ExchangeReply, error) {
		return &identityv1.ExchangeReply{Token: "signed"}, nil
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- api.ServeNATS(ctx, b, func() { close(ready) }) }()
	<-ready
	defer func() {
		cancel()
		close(leave)
		require.NoError(t, <-done) // with many that still wait: they are answered or refused, see TestMain
	}()
	for range 2 * operation.MaxInFlight {
		msg := nats.NewMsg(bus.APISubject("demo"))
		msg.Header.Set(apibridge.HeaderMethod, "GET")
		msg.Header.Set(apibridge.HeaderTarget, "/demo/v1/block")
		require.NoError(t, b.Conn.PublishMsg(msg))
	}
	for range operation.MaxInFlight {
		<-entered
	}
	var reply identityv1.ExchangeReply
	require.NoError(t, operation.Call(t.Context(), b, "demo.Exchange", &identityv1.ExchangeRequest{}, &reply))
	require.Equal(t, "signed", reply.GetToken())
}
