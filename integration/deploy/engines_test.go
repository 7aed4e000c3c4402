package deploy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/libs/testkit"
)

// element of an XML file whose names are data.
type element struct {
	XMLName  xml.Name
	Text     string    `xml:",chardata"`
	Children []element `xml:",any"`
}

func (e element) child(tb testing.TB, names ...string) element {
	tb.Helper()
	for _, name := range names {
		found := false
		for _, c := range e.Children {
			if c.XMLName.Local == name {
				e, found = c, true
				break
			}
		}
		require.True(tb, found, "%s has no %s", e.XMLName.Local, name)
	}
	return e
}

func parseXML(tb testing.TB, file string) element {
	tb.Helper()
	var e element
	require.NoError(tb, xml.Unmarshal([]byte(read(tb, file)), &e))
	require.Equal(tb, "clickhouse", e.XMLName.Local)
	return e
}

// ask runs a query on an engine and returns the answer.
func ask(t *testing.T, engine, query string) string {
	t.Helper()
	response, err := http.Post(engine, "text/plain", strings.NewReader(query))
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, "%s: %s", query, answer)
	return strings.TrimSpace(string(answer))
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `\'`) + "'" }

// TestClickHouseUsers: what the files name is what the engine knows, and who has a password is who may come over the network.
func TestClickHouseUsers(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(testkit.ClickHouse(t))
	require.NoError(t, err)
	address.Path = "/"
	engine := address.String()
	c := containerOf(t, loadProject(t, secrets(t), ""), "clickhouse")
	file := func(target string) string {
		source, ok := c.here(target)
		require.True(t, ok, target)
		return source
	}
	parseXML(t, file("/etc/clickhouse-server/config.d/tollgate.xml"))
	users := parseXML(t, file("/etc/clickhouse-server/users.d/tollgate.xml"))
	passwords := parseXML(t, file("/etc/clickhouse-server/users.d/tollgate-passwords.xml")).child(t, "users")
	require.Len(t, users.child(t, "users").Children, len(passwords.Children)+1)
	for _, password := range passwords.Children {
		user := users.child(t, "users", password.XMLName.Local)
		require.NotEmpty(t, user.child(t, "grants").Children)
		for _, grant := range user.child(t, "grants").Children {
			require.Contains(t, ask(t, engine, "SELECT formatQuerySingleLine("+quote(grant.Text+" TO "+password.XMLName.Local)+")"), "GRANT ")
		}
	}
	for _, ip := range users.child(t, "users", "default", "networks").Children {
		require.Contains(t, []string{"::1", "127.0.0.1"}, ip.Text, "without a password from inside only")
	}
	for _, setting := range users.child(t, "profiles", "tollgate_reader").Children {
		require.Equal(t, "1", ask(t, engine, "SELECT count() FROM system.settings WHERE name = "+quote(setting.XMLName.Local)))
	}
	script := read(t, file("/docker-entrypoint-initdb.d/10-database.sql"))
	require.Contains(t, ask(t, engine, "SELECT formatQuerySingleLine("+quote(strings.TrimSpace(script))+")"), "CREATE DATABASE")

	settings := read(t, mustHere(t, containerOf(t, loadProject(t, secrets(t), ""), "analytics"), "/run/secrets/config"))
	_, login, _ := strings.Cut(settings, "clickhouse://analytics:")
	password, _, _ := strings.Cut(login, "@")
	sum := sha256.Sum256([]byte(password))
	require.Equal(t, hex.EncodeToString(sum[:]), passwords.child(t, "analytics", "password_sha256_hex").Text)
}

func mustHere(t *testing.T, c *container, target string) string {
	t.Helper()
	source, ok := c.here(target)
	require.True(t, ok, target)
	return source
}

// TestGrafanaDataSource: it names a container, a port, a user and a secret that are there.
func TestGrafanaDataSource(t *testing.T) {
	t.Parallel()
	project := loadProject(t, secrets(t), "")
	c := containerOf(t, project, "grafana")
	var file struct {
		Datasources []struct {
			Type     string
			JSONData struct {
				Host, Username string
				Port           int
			} `yaml:"jsonData"`
			SecureJSONData map[string]string `yaml:"secureJsonData"`
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, mustHere(t, c, "/etc/grafana/provisioning/datasources/clickhouse.yaml"))), &file))
	require.Len(t, file.Datasources, 1)
	source := file.Datasources[0]
	require.Equal(t, source.Type, *c.Environment["GF_PLUGINS_PREINSTALL_SYNC"], "the plugin is there")
	require.Equal(t, 9000, source.JSONData.Port)
	_, err := project.GetService(source.JSONData.Host)
	require.NoError(t, err)
	secret := strings.TrimSuffix(strings.TrimPrefix(source.SecureJSONData["password"], "$__file{"), "}")
	sum := sha256.Sum256([]byte(strings.TrimSpace(read(t, mustHere(t, c, secret)))))
	hashes := parseXML(t, mustHere(t, containerOf(t, project, source.JSONData.Host), "/etc/clickhouse-server/users.d/tollgate-passwords.xml"))
	require.Equal(t, hex.EncodeToString(sum[:]), hashes.child(t, "users", source.JSONData.Username, "password_sha256_hex").Text)
	require.Equal(t, "/run/secrets", path.Dir(*c.Environment["GF_SECURITY_ADMIN_PASSWORD__FILE"]))
	mustHere(t, c, *c.Environment["GF_SECURITY_ADMIN_PASSWORD__FILE"])
}
