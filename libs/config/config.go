// Package config reads a process's configuration, defaults < file < environment < flags, into one struct, and runs the
// process with it.
//
// Fields are described by struct tags of the kong library (name, help, default, env, enum); a field tagged secret:"true"
// is never printed. Every process has --config, --validate, --print-config, --healthcheck and --version.
package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	kongyaml "github.com/alecthomas/kong-yaml"
)

// Version of the build: set by the linker, else "dev".
var Version = "dev"

type common struct {
	Config      kong.ConfigFlag  `help:"Read defaults from a YAML file." placeholder:"FILE"`
	Validate    bool             `help:"Check the configuration and exit."`
	PrintConfig bool             `help:"Print the configuration, without secrets, and exit."`
	Healthcheck bool             `help:"Ask the process that runs with this configuration whether it is ready, and exit: 0 if it is, else 1."`
	Version     kong.VersionFlag `help:"Print the version and exit."`
}

// Process is what Main runs.
type Process[C any] struct {
	// Name of the process, for example "catalog".
	Name string
	// Description is one line of what it does.
	Description string
	// Validate reports every field that is wrong, joined.
	Validate func(C) error
	// Health asks the process that runs with this configuration whether it is ready.
	Health func(ctx context.Context, c C) error
	// Run runs until ctx ends, which SIGINT and SIGTERM cause.
	Run func(ctx context.Context, c C) error
	// Tasks are what the program can do in place of running; Do does the one of this name.
	Tasks []Task
	Do    func(ctx context.Context, c C, task string) error
}

// Task is something that a program does in place of running, given as its only argument.
type Task struct{ Name, Help string }

// Main parses args, validates and runs; it returns the exit code: 0 success, 1 failure, 2 wrong configuration.
func Main[C any](p Process[C], args []string, stdout, stderr io.Writer) int {
	var cli struct {
		common
		Task     string `arg:"" optional:"" help:"${tasks}"`
		Settings C      `embed:""`
	}
	exit := -1
	parser, err := kong.New(&cli, kong.Name(p.Name), kong.Description(p.Description), kong.Writers(stdout, stderr),
		kong.Configuration(loadFile), kong.Vars{"version": Version, "tasks": describe(p.Tasks)}, kong.Exit(func(code int) { exit = code }))
	if err != nil {
		fmt.Fprintf(stderr, "%s: %s\n", p.Name, err)
		return 2
	}
	_, err = parser.Parse(args)
	if exit >= 0 {
		return exit // --help or --version has been served
	}
	// Secrets, which only the running process need be told, may be missing here: what Parse finds wrong with values is no matter.
	if cli.Healthcheck {
		return healthcheck(p, cli.Settings, stdout, stderr)
	}
	if err == nil {
		err = p.check(cli.Task)
	}
	if err == nil && p.Validate != nil {
		err = p.Validate(cli.Settings)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: the configuration is not valid:\n%s\n", p.Name, indent(err))
		return 2
	}
	switch {
	case cli.PrintConfig:
		Print(stdout, cli.Settings)
		return 0
	case cli.Validate:
		fmt.Fprintln(stdout, "the configuration is valid")
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	run := p.Run
	if cli.Task != "" {
		run = func(ctx context.Context, c C) error { return p.Do(ctx, c, cli.Task) }
	}
	if err := run(ctx, cli.Settings); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(stderr, "%s: %s\n", p.Name, err)
		return 1
	}
	return 0
}

// describe is the help of the argument that names a task.
func describe(tasks []Task) string {
	if len(tasks) == 0 {
		return "There are no tasks."
	}
	var b strings.Builder
	b.WriteString("What to do in place of running:")
	for i, t := range tasks {
		if i > 0 {
			b.WriteByte(';')
		}
		fmt.Fprintf(&b, " %s: %s", t.Name, t.Help)
	}
	return b.String() + "."
}

// check refuses a task that there is not.
func (p Process[C]) check(task string) error {
	var names []string
	for _, t := range p.Tasks {
		names = append(names, t.Name)
	}
	switch {
	case task == "" || slices.Contains(names, task):
		return nil
	case len(names) == 0:
		return fmt.Errorf("unexpected argument %s", task)
	}
	return fmt.Errorf("unexpected argument %s; the tasks are %s", task, strings.Join(names, ", "))
}

// healthTimeout bounds a health check.
const healthTimeout = 5 * time.Second

func healthcheck[C any](p Process[C], settings C, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	if err := p.Health(ctx, settings); err != nil {
		fmt.Fprintf(stderr, "%s: %s\n", p.Name, err)
		return 1
	}
	fmt.Fprintln(stdout, "ready")
	return 0
}

// loadFile reads a YAML file whose values give way to the environment, as kong alone would not have it.
func loadFile(r io.Reader) (kong.Resolver, error) {
	file, err := kongyaml.Loader(r)
	if err != nil {
		return nil, err
	}
	return kong.ResolverFunc(func(ctx *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
		for _, name := range flag.Envs {
			if _, ok := os.LookupEnv(name); ok {
				return nil, nil
			}
		}
		return file.Resolve(ctx, parent, flag)
	}), nil
}

func indent(err error) string {
	return "  " + strings.ReplaceAll(err.Error(), "\n", "\n  ")
}

// Print writes the settings as "name: value" lines; secrets that are set are shown as "***".
func Print(w io.Writer, settings any) {
	printStruct(w, "", reflect.Indirect(reflect.ValueOf(settings)))
}

func printStruct(w io.Writer, prefix string, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("name")
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		switch {
		case !f.IsExported():
		case f.Type.Kind() == reflect.Struct:
			printStruct(w, prefix+f.Tag.Get("prefix"), v.Field(i))
		case f.Tag.Get("secret") == "true" && !v.Field(i).IsZero():
			fmt.Fprintf(w, "%s%s: ***\n", prefix, name)
		default:
			fmt.Fprintf(w, "%s%s: %v\n", prefix, name, v.Field(i).Interface())
		}
	}
}

// Exit ends the process with Main's result; it is all that a main function needs.
func Exit[C any](p Process[C]) {
	os.Exit(Main(p, os.Args[1:], os.Stdout, os.Stderr))
}
