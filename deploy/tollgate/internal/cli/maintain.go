package cli

import (
	"context"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/suite"
)

type maintainCommand struct {
	Task     string `arg:"" enum:"check,rebuild,restored" help:"check: compare the event logs with their streams, and the tables with what the logs say; exit code 1 when they differ. rebuild: make the tables that follow from the logs again. restored: after PostgreSQL was restored from a backup, begin a new epoch of the logs."`
	Data     string `help:"Directory of the suite, which must not be running." default:".data" env:"TOLLGATE_DATA" placeholder:"DIR"`
	Services string `help:"Services to maintain: a list with commas, or all." default:"all"`
}

// Run does the task on the engines of a suite that is stopped.
func (m *maintainCommand) Run(ctx context.Context, env *environment) error {
	services, err := suite.ParseServices(m.Services)
	if err != nil {
		return err
	}
	program, err := executable()
	if err != nil {
		return err
	}
	return suite.Maintain(ctx, suite.Config{
		// What follows from these is not used by the tasks; services refuse to be built without.
		Admin: "127.0.0.1:8081", MailFrom: "tollgate@localhost",
		Data: m.Data, Services: services, Program: env.program, ClickHouseChild: []string{program, "clickhouse-engine"}, Out: env.stdout,
	}, m.Task)
}
