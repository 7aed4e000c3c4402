package deploy_test

import (
	"crypto/sha256"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDockerfilesAreAlike: they differ in the name of the service and, for the gateway, in its addresses.
func TestDockerfilesAreAlike(t *testing.T) {
	t.Parallel()
	texts := map[string]string{}
	for _, service := range services {
		var lines []string
		for line := range strings.Lines(read(t, root(t), "services", service, "Dockerfile")) {
			if !strings.HasPrefix(line, "ENV TOLLGATE_") && !strings.HasPrefix(line, "EXPOSE ") {
				lines = append(lines, line)
			}
		}
		texts[service] = strings.ReplaceAll(strings.Join(lines, ""), service, "SERVICE")
	}
	for _, service := range services {
		require.Equal(t, texts["identity"], texts[service], service)
	}
}

// TestImagesAreBareAndUnprivileged.
func TestImagesAreBareAndUnprivileged(t *testing.T) {
	t.Parallel()
	for _, service := range services {
		d := dockerfileOf(t, service)
		require.Equal(t, []string{"scratch"}, all(d.image, "FROM"))
		require.Equal(t, []string{"65532:65532"}, all(d.image, "USER"))
		require.Equal(t, "/"+service, d.entrypoint(t))
		require.Contains(t, strings.Join(all(d.image, "COPY"), "\n"), "/out/"+service+" "+d.entrypoint(t))
		require.Contains(t, strings.Join(all(d.image, "HEALTHCHECK"), ""), `CMD ["/`+service+`", "--healthcheck"]`)
		requireKnown(t, service, keys(d.env(t)))
	}
}

// TestBuildContextHasWhatServicesNeed: every package of this repository that a service links, and every file that is embedded, is
// copied into the build and not held back by .dockerignore.
func TestBuildContextHasWhatServicesNeed(t *testing.T) {
	t.Parallel()
	b := newBuildContext(t)
	for _, secret := range []string{".git/config", ".data/admin-token", "deploy/compose/secrets/identity.yaml", "bin/identity"} {
		require.False(t, b.has(t, secret), secret)
	}
	for _, service := range services {
		var copied []string
		for _, c := range dockerfileOf(t, service).copies() {
			copied = append(copied, c[0]...)
		}
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
			`{{if not .Standard}}{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{end}}`, "./cmd/"+service)
		cmd.Dir = filepath.Join(b.root, "services", service)
		out, err := cmd.Output()
		require.NoError(t, err)
		found := 0
		for line := range strings.Lines(string(out)) {
			relative, ours := strings.CutPrefix(strings.TrimSpace(line), b.root+"/")
			if !ours {
				continue
			}
			found++
			require.True(t, b.has(t, relative), "%s is needed by %s and ignored", relative, service)
			require.True(t, slices.ContainsFunc(copied, func(dir string) bool { return strings.HasPrefix(relative, dir+"/") }),
				"%s is needed by %s and not copied", relative, service)
		}
		require.Greater(t, found, 20, service)
	}
}

// TestBinaryIsReproducible builds a service as its Dockerfile does, in two places: the same bytes, linked statically, without a trace
// of the place. The go command's cache saves compiling the same packages twice.
func TestBinaryIsReproducible(t *testing.T) {
	t.Parallel()
	const service = "gateway"
	first := buildImageBinary(t, service, t.TempDir())
	second := buildImageBinary(t, service, filepath.Join(t.TempDir(), "elsewhere"))
	one, two := read(t, first), read(t, second)
	require.Equal(t, sha256.Sum256([]byte(one)), sha256.Sum256([]byte(two)))
	for _, place := range []string{first, second} {
		require.False(t, strings.Contains(one, filepath.Dir(filepath.Dir(place))), "where it was built is in it")
	}

	image, err := elf.Open(first)
	require.NoError(t, err)
	defer image.Close()
	libraries, err := image.ImportedLibraries()
	require.NoError(t, err)
	require.Empty(t, libraries)
	for _, program := range image.Progs {
		require.NotEqual(t, elf.PT_INTERP, program.Type, "there is no loader in the image")
	}
	out, err := run(t, nil, first, "--version")
	require.NoError(t, err)
	require.Equal(t, "1.2.3-reproduced\n", out)
	t.Logf("%s: %.1f MB", service, float64(len(one))/1e6)
}

// buildImageBinary follows the first stage of a Dockerfile below a folder and returns the path of the binary.
func buildImageBinary(t *testing.T, service, dir string) string {
	t.Helper()
	d := dockerfileOf(t, service)
	b := newBuildContext(t)
	source, output := filepath.Join(dir, "src"), filepath.Join(dir, "out")
	require.NoError(t, os.MkdirAll(output, 0o755))
	require.Equal(t, []string{"/src"}, all(d.build, "WORKDIR"))
	for _, c := range d.copies() {
		b.copyTo(t, c[0], filepath.Join(source, c[1][0]))
	}
	env := []string{"TARGETOS=" + runtime.GOOS, "TARGETARCH=" + runtime.GOARCH, "VERSION=1.2.3-reproduced"}
	for _, name := range []string{"PATH", "HOME", "GOCACHE", "GOPATH", "GOMODCACHE", "GOPROXY", "GONOSUMDB", "GOSUMDB", "HTTPS_PROXY", "SSL_CERT_FILE"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	env = append(env, pairs(variables(t, d.build))...)
	for _, command := range d.commands() {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(command, "/out", output))
		cmd.Dir, cmd.Env = source, env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", command, out)
	}
	return filepath.Join(output, service)
}
