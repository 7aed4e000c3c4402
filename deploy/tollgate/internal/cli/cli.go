// Package cli is the command line of tollgate: `up` runs the suite; the other commands call the management API of a
// running one, except `rate`, which works offline.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"

	"github.com/tollgate/tollgate/libs/config"
)

type commands struct {
	Version kong.VersionFlag `help:"Print the version and exit."`

	Up        upCommand        `cmd:"" help:"Run the suite: all services, with embedded engines."`
	Maintain  maintainCommand  `cmd:"" help:"Check or repair the event logs and tables of a suite that is stopped."`
	Apply     applyCommand     `cmd:"" help:"Make resources as files say. Applying twice changes nothing; a bad file changes nothing at all."`
	Diff      diffCommand      `cmd:"" help:"Show what apply would change. Exit code 1 when there is a difference."`
	Export    exportCommand    `cmd:"" help:"Write every resource as files that apply takes."`
	Get       getCommand       `cmd:"" help:"List resources, or show one."`
	Rate      rateCommand      `cmd:"" help:"Rate a usage file under a plan file, offline."`
	Bill      billCommand      `cmd:"" help:"Bill what has ended."`
	Invoices  invoicesCommand  `cmd:"" help:"Show invoices, and what is to come."`
	Reconcile reconcileCommand `cmd:"" help:"Compare the four counters of a time: answered, stored, landed, metered. Exit code 1 when they differ."`
	Calls     callsCommand     `cmd:"" help:"Look at calls."`
	Usage     usageCommand     `cmd:"" help:"What was used, by time and dimension."`
	Quotas    quotasCommand    `cmd:"" help:"What is left of a subscription's quotas, and when they will be used up."`
	Audit     auditCommand     `cmd:"" help:"Who did what, when and from where, in every service, the newest first."`
	Grafana   grafanaCommand   `cmd:"" help:"Dashboards for Grafana."`
	Login     loginCommand     `cmd:"" help:"Sign in to a server, for the commands that follow."`
	Logout    logoutCommand    `cmd:"" help:"Sign out."`

	Completion kongcompletion.Completion `cmd:"" help:"Print what makes a shell (bash, zsh, fish) complete these commands."`

	ClickHouseEngine clickHouseCommand `cmd:"" name:"clickhouse-engine" hidden:""`
	CatalogInspect   inspectCommand    `cmd:"" name:"catalog-inspect" hidden:""`
}

// environment is what commands are given by the process.
type environment struct {
	stdout, stderr io.Writer
	lookup         func(string) (string, bool)
	program        string
}

// errDifferent ends a command with exit code 1 without a message: the output has said it.
var errDifferent = errors.New("there is a difference")

// exitInterrupted is the exit code of a command that was interrupted before it had done its work, as shells have it: 128 and SIGINT.
const exitInterrupted = 130

// Main parses args (with the program's name first), runs the command and returns the exit code: 0 success, 1 failure or a
// difference found, 2 wrong use, 130 interrupted. Commands that run until they are interrupted end with 0.
func Main(args []string, stdout, stderr io.Writer, lookup func(string) (string, bool)) int {
	var c commands
	exit := -1
	env := &environment{stdout: stdout, stderr: stderr, lookup: lookup, program: args[0]}
	parser, err := kong.New(&c, kong.Name("tollgate"), kong.Writers(stdout, stderr), kong.Vars{"version": config.Version},
		kong.Description("API management that closes the loop from the call to the invoice."),
		kong.Exit(func(code int) { exit = code }), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(stderr, "tollgate:", err)
		return 2
	}
	kongcompletion.Register(parser, kongcompletion.WithExitFunc(func(code int) { exit = code }))
	if exit >= 0 {
		return exit // a shell has asked
	}
	parsed, err := parser.Parse(args[1:])
	if exit >= 0 {
		return exit // --help or --version has been served
	}
	if err != nil {
		fmt.Fprintf(stderr, "tollgate: %s\nRun `tollgate --help` for the commands.\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(env)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintf(stderr, "tollgate: interrupted: %s\n", err)
		return exitInterrupted
	case errors.Is(err, errDifferent):
		return 1
	}
	fmt.Fprintf(stderr, "tollgate: %s\n", err)
	return 1
}

// executable is the path of this binary, for starting it again as an engine's process.
func executable() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return path, nil
}
