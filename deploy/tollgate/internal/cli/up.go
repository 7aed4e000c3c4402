package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/suite"
	"github.com/tollgate/tollgate/libs/engine/chserver"
	"github.com/tollgate/tollgate/services/catalog"
)

type upCommand struct {
	Data          string `help:"Directory for everything that lasts." default:".data" env:"TOLLGATE_DATA" placeholder:"DIR"`
	Listen        string `help:"Address of the gateway." default:"127.0.0.1:8080" env:"TOLLGATE_LISTEN"`
	Admin         string `help:"Address of the management API." default:"127.0.0.1:8081" env:"TOLLGATE_ADMIN"`
	Sample        bool   `help:"Load the weather sample and serve its upstream."`
	Services      string `help:"Services to run: a list with commas, all, or none (the engines alone)." default:"all"`
	NATSURL       string `name:"nats-url" help:"Use this NATS server instead of the embedded one." env:"TOLLGATE_NATS_URL" placeholder:"URL"`
	PostgresURL   string `name:"postgres-url" help:"Use this PostgreSQL server (a role that may make databases and roles)." env:"TOLLGATE_POSTGRES_URL" placeholder:"URL"`
	ClickHouseURL string `name:"clickhouse-url" help:"Use this ClickHouse server." env:"TOLLGATE_CLICKHOUSE_URL" placeholder:"URL"`
	MailURL       string `help:"Send mail over this server: smtp://USER:PASSWORD@HOST:587, or smtps://…:465. By default mails are put into files in DIR/mail." env:"TOLLGATE_MAIL_URL" placeholder:"URL"`
	MailFrom      string `help:"Sender of mail." default:"tollgate@localhost" env:"TOLLGATE_MAIL_FROM" placeholder:"ADDRESS"`
	AllowPrivate  bool   `help:"Let webhooks, references of OpenAPI documents and OpenID providers be at loopback and private addresses: for trying them on one machine." env:"TOLLGATE_ALLOW_PRIVATE"`
}

// Run runs the suite until it is interrupted.
func (u *upCommand) Run(ctx context.Context, env *environment) error {
	services, err := suite.ParseServices(u.Services)
	if err != nil {
		return err
	}
	program, err := executable()
	if err != nil {
		return err
	}
	return untilInterrupted(ctx, suite.Run(ctx, suite.Config{
		Data: u.Data, Listen: u.Listen, Admin: u.Admin, Services: services, Sample: u.Sample,
		NATSURL: u.NATSURL, PostgresURL: u.PostgresURL, ClickHouseURL: u.ClickHouseURL,
		MailURL: u.MailURL, MailFrom: u.MailFrom, AllowPrivate: u.AllowPrivate,
		Program: env.program, ClickHouseChild: []string{program, "clickhouse-engine"}, Out: env.stdout,
	}))
}

// untilInterrupted is the outcome of what runs until it is interrupted: that is no failure.
func untilInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// inspectCommand is the process that reads documents which nobody trusts: catalog starts it.
type inspectCommand struct{}

// Run inspects one document.
func (*inspectCommand) Run(ctx context.Context, env *environment) error {
	return catalog.Inspect(ctx, os.Stdin, env.stdout)
}

// clickHouseCommand is the process of the ClickHouse engine: `up` starts it.
type clickHouseCommand struct{}

// Run serves until the parent is gone.
func (*clickHouseCommand) Run(ctx context.Context, env *environment) error {
	return untilInterrupted(ctx, chserver.RunChild(ctx, os.Stdin, slog.New(slog.NewJSONHandler(env.stderr, nil))))
}
