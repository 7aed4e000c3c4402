package deploy_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/stretchr/testify/require"
)

// instruction of a Dockerfile, with its continuation lines.
type instruction struct{ name, arguments string }

// dockerfile is that of a service: a stage that builds and one that is the image.
type dockerfile struct {
	service      string
	build, image []instruction
}

func dockerfileOf(tb testing.TB, service string) *dockerfile {
	tb.Helper()
	d := &dockerfile{service: service}
	var stages [][]instruction
	text := strings.ReplaceAll(read(tb, root(tb), "services", service, "Dockerfile"), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, arguments, _ := strings.Cut(line, " ")
		if name == "FROM" {
			stages = append(stages, nil)
		}
		if len(stages) > 0 {
			last := len(stages) - 1
			stages[last] = append(stages[last], instruction{name, strings.TrimSpace(arguments)})
		}
	}
	require.Len(tb, stages, 2, service)
	d.build, d.image = stages[0], stages[1]
	return d
}

// all returns the arguments of a stage's instructions of one name.
func all(stage []instruction, name string) []string {
	var found []string
	for _, i := range stage {
		if i.name == name {
			found = append(found, i.arguments)
		}
	}
	return found
}

func (d *dockerfile) env(tb testing.TB) map[string]string { return variables(tb, d.image) }

func variables(tb testing.TB, stage []instruction) map[string]string {
	tb.Helper()
	env := map[string]string{}
	for _, line := range all(stage, "ENV") {
		for _, pair := range strings.Fields(line) {
			name, value, ok := strings.Cut(pair, "=")
			require.True(tb, ok, pair)
			env[name] = value
		}
	}
	return env
}

func (d *dockerfile) entrypoint(tb testing.TB) string {
	tb.Helper()
	var command []string
	require.NoError(tb, json.Unmarshal([]byte(strings.Join(all(d.image, "ENTRYPOINT"), "")), &command))
	require.Len(tb, command, 1)
	return command[0]
}

func (d *dockerfile) exposed(tb testing.TB) []string {
	tb.Helper()
	ports := strings.Fields(strings.Join(all(d.image, "EXPOSE"), " "))
	require.NotEmpty(tb, ports)
	return ports
}

var (
	mountOption = regexp.MustCompile(`--mount=\S+\s+`)
	option      = regexp.MustCompile(`^--\S+\s+`)
)

// commands are the RUN instructions of the first stage, without the mounts of caches.
func (d *dockerfile) commands() []string {
	var commands []string
	for _, line := range all(d.build, "RUN") {
		commands = append(commands, mountOption.ReplaceAllString(line, ""))
	}
	return commands
}

// copies are the COPY instructions of the first stage: what is copied and where to.
func (d *dockerfile) copies() [][2][]string {
	var copies [][2][]string
	for _, line := range all(d.build, "COPY") {
		fields := strings.Fields(option.ReplaceAllString(line, ""))
		copies = append(copies, [2][]string{fields[:len(fields)-1], fields[len(fields)-1:]})
	}
	return copies
}

// buildContext is what a build sees of the checkout: what .dockerignore leaves of it.
type buildContext struct {
	root    string
	ignored *patternmatcher.PatternMatcher
}

func newBuildContext(tb testing.TB) buildContext {
	tb.Helper()
	checkout := root(tb)
	patterns, err := ignorefile.ReadAll(strings.NewReader(read(tb, checkout, ".dockerignore")))
	require.NoError(tb, err)
	matcher, err := patternmatcher.New(patterns)
	require.NoError(tb, err)
	return buildContext{checkout, matcher}
}

// has says whether a path, relative to the root, is in the context.
func (b buildContext) has(tb testing.TB, path string) bool {
	tb.Helper()
	ignored, err := b.ignored.MatchesOrParentMatches(path)
	require.NoError(tb, err)
	return !ignored
}

// copyTo does what COPY does: files into a folder, or the content of a folder. It fails for what is not in the context.
func (b buildContext) copyTo(tb testing.TB, sources []string, target string) {
	tb.Helper()
	for _, source := range sources {
		from := filepath.Join(b.root, source)
		info, err := os.Stat(from)
		require.NoError(tb, err)
		require.True(tb, b.has(tb, source), "%s is not in the context", source)
		if !info.IsDir() {
			write(tb, read(tb, from), target, filepath.Base(from))
			continue
		}
		require.NoError(tb, filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
			relative := must(filepath.Rel(b.root, path))
			if err != nil || entry.IsDir() || !b.has(tb, relative) {
				return err
			}
			write(tb, read(tb, path), target, must(filepath.Rel(from, path)))
			return nil
		}))
	}
}

func must[V any](value V, err error) V {
	if err != nil {
		panic(err)
	}
	return value
}
