package domain_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
)

var start = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

func everything() domain.Giver { return domain.Giver{Scopes: domain.AllScopes(), Installer: true} }

func fold[S any](state S, evolve func(S, proto.Message) S, events []proto.Message) S {
	for _, e := range events {
		state = evolve(state, e)
	}
	return state
}

// Whatever is done to an application's credentials, in whatever order: what is issued is valid until it is revoked or its
// overlap ends, a client's id and scopes outlive its secrets, and nothing comes back.
func TestCredentialsOfAnApplication(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		account := domain.Account{ID: "a", Name: "globex"}
		events, err := domain.CreateApplication("p", "app", account, &identityv1.ApplicationSpec{Title: "App"})
		require.NoError(t, err)
		app := fold(domain.Application{}, domain.Application.Evolve, events)
		now, revoked, ids := start, map[string]bool{}, []string{}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 48).Draw(t, "hours")) * time.Hour)
			id := "c" + string(rune('a'+len(ids)))
			var target string
			if len(ids) > 0 {
				target = rapid.SampledFrom(ids).Draw(t, "target")
			}
			before := app.Credentials[target]
			switch rapid.SampledFrom([]string{"issue", "rotate", "revoke"}).Draw(t, "step") {
			case "issue":
				n := domain.NewCredential{ID: id, Kind: domain.OAuth2, Title: "T", Scopes: []string{"s"}, ClientID: "tgc_" + id}
				events, err = app.Issue(account, n, now)
				require.NoError(t, err)
				ids = append(ids, id)
			case "rotate":
				overlap := time.Duration(rapid.IntRange(0, 720).Draw(t, "overlap")) * time.Hour
				events, err = app.Rotate(account, target, domain.NewCredential{ID: id}, overlap, now)
				if target == "" || revoked[target] || (!before.Expires.IsZero() && !now.Before(before.Expires)) {
					require.Error(t, err)
					require.Empty(t, events)
					continue
				}
				require.NoError(t, err)
				ids = append(ids, id)
				revoked[target] = overlap == 0
			case "revoke":
				events, err = app.Revoke(target)
				if target == "" {
					require.Error(t, err)
					continue
				}
				require.NoError(t, err)
				revoked[target] = true
			}
			app = fold(app, domain.Application.Evolve, events)
			if after := app.Credentials[id]; after.ID != "" && before.ID != "" && after.ClientID == before.ClientID {
				require.Equal(t, before.Scopes, after.Scopes)
				require.Equal(t, before.Kind, after.Kind)
			}
			for id, is := range revoked {
				require.Equal(t, is, app.Credentials[id].Revoked, id)
			}
		}
		// With the account's end it gets none any more.
		account.Closed = true
		events, err = app.Issue(account, domain.NewCredential{ID: "x", Kind: domain.APIKey, Title: "T"}, now)
		require.ErrorContains(t, err, "closed")
		require.Empty(t, events)
		for _, id := range ids {
			events, err = app.Rotate(account, id, domain.NewCredential{ID: "x"}, 0, now)
			require.Error(t, err)
			require.Empty(t, events)
		}
	})
}

// Nobody gives what they do not have, by whichever roles.
func TestRolesGiveAtMostWhatTheGiverHas(t *testing.T) {
	t.Parallel()
	scopes := rapid.SliceOfDistinct(rapid.SampledFrom(domain.AllScopes()), func(s string) string { return s })
	rapid.Check(t, func(t *rapid.T) {
		own := domain.Roles{"custom": scopes.Draw(t, "custom")}
		by := domain.Giver{Scopes: scopes.Draw(t, "giver"), Installer: rapid.Bool().Draw(t, "installer")}
		roles := rapid.SliceOfN(rapid.SampledFrom([]string{"owner", "publisher", "finance", "viewer", "installer", "custom", "unknown"}), 0, 3).Draw(t, "roles")
		events, err := domain.AddMember("m", "", roles, own, by)
		if err != nil {
			require.Empty(t, events)
			return
		}
		m := fold(domain.Member{}, domain.Member.Evolve, events)
		for _, scope := range own.Scopes(m.Roles) {
			require.Contains(t, by.Scopes, scope)
		}
		require.False(t, domain.IsInstaller(m.Roles) && !by.Installer)
	})
}

// The last owner stays one, whatever single sign-on says; installer comes from nobody but an installer.
func TestRolesOfSingleSignOn(t *testing.T) {
	t.Parallel()
	names := []string{"owner", "viewer", "finance", "custom", "installer", "gone"}
	some := rapid.SliceOfN(rapid.SampledFrom(names), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		own := domain.Roles{"custom": {"identity.read"}}
		sso := domain.SingleSignOn{DefaultRoles: some.Draw(t, "default"), Mappings: []domain.RoleMapping{{Value: "a", Roles: some.Draw(t, "a")}}}
		roles := sso.RolesOf(rapid.SliceOf(rapid.SampledFrom([]string{"a", "b"})).Draw(t, "values"), own)
		require.NotContains(t, roles, "installer")
		require.NotContains(t, roles, "gone")
		m := domain.Member{ID: "m", Roles: rapid.SliceOfNDistinct(rapid.SampledFrom(names[:5]), 1, 4, func(s string) string { return s }).Draw(t, "has")}
		others := rapid.IntRange(0, 1).Draw(t, "others")
		after := fold(m, domain.Member.Evolve, m.SignInRoles(roles, others))
		require.Equal(t, domain.IsInstaller(m.Roles), domain.IsInstaller(after.Roles))
		if slices.Contains(m.Roles, "owner") && others == 0 {
			require.Contains(t, after.Roles, "owner")
		}
		require.Empty(t, after.SignInRoles(roles, others), "the second time nothing changes")
	})
}

func TestInvitationsAreAcceptedOnce(t *testing.T) {
	t.Parallel()
	events, err := domain.Invite("i", nil, []string{"viewer"}, nil, everything(), start.Add(time.Hour))
	require.NoError(t, err)
	open := fold(domain.Invitation{}, domain.Invitation.Evolve, events)
	accepted, err := open.Accept("m", start)
	require.NoError(t, err)
	revoked, err := open.Revoke()
	require.NoError(t, err)
	for name, i := range map[string]domain.Invitation{
		"accepted": fold(open, domain.Invitation.Evolve, accepted), "revoked": fold(open, domain.Invitation.Evolve, revoked), "unknown": {},
	} {
		_, err := i.Accept("m2", start)
		require.Error(t, err, name)
	}
	_, err = open.Accept("m", start.Add(time.Hour))
	require.ErrorContains(t, err, "expired")
	_, err = domain.Invite("i", &domain.Account{ID: "a", Closed: true}, []string{"admin"}, nil, everything(), start)
	require.ErrorContains(t, err, "closed")
	_, err = domain.Invite("i", &domain.Account{ID: "a"}, []string{"viewer"}, nil, everything(), start)
	require.Error(t, err, "a role of the tenant is none of an account")
}

func TestIssuers(t *testing.T) {
	t.Parallel()
	for issuer, good := range map[string]bool{
		"https://login.example.com": true, "https://login.example.com/tenant": true, "http://127.0.0.1:8081/identity": true,
		"http://localhost:9000": true, "http://[::1]:9000": true, "http://login.example.com": false, "login.example.com": false, "": false,
		"https://a@login.example.com": false, "https://login.example.com?x=1": false, "https://login.example.com#x": false, "ftp://x.example": false,
	} {
		require.Equal(t, good, domain.CheckIssuer(issuer) == "", "%s: %s", issuer, domain.CheckIssuer(issuer))
	}
}

func FuzzCheckIssuer(f *testing.F) {
	f.Add("https://login.example.com")
	f.Add("http://127.0.0.1:1/%zz")
	f.Fuzz(func(t *testing.T, issuer string) {
		if domain.CheckIssuer(issuer) == "" && len(issuer) > 500 {
			t.Fatal("too long an issuer was taken")
		}
	})
}

func TestDomainsOfAddresses(t *testing.T) {
	t.Parallel()
	sso := domain.SingleSignOn{Domain: "example.com"}
	for email, admitted := range map[string]bool{
		"kim@example.com": true, "KIM@EXAMPLE.COM": true, "kim@sub.example.com": false, "kim@example.com.evil.net": false,
		"kim@evil.net@example.com": false, "example.com": false, "": false,
	} {
		require.Equal(t, admitted, sso.Admits(email), email)
	}
}

// Nobody is found by the address who may more than single sign-on gives and whoever set it up has.
func TestWhomSingleSignOnFinds(t *testing.T) {
	t.Parallel()
	scopes := rapid.SliceOfDistinct(rapid.SampledFrom(domain.AllScopes()), func(s string) string { return s })
	roles := rapid.SliceOfN(rapid.SampledFrom([]string{"owner", "viewer", "finance", "custom", "installer"}), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		own := domain.Roles{"custom": scopes.Draw(t, "custom")}
		sso := domain.SingleSignOn{By: domain.Giver{Scopes: scopes.Draw(t, "by"), Installer: rapid.Bool().Draw(t, "installer")}}
		has, gives := roles.Draw(t, "has"), roles.Draw(t, "gives")
		found := sso.Finds(has, gives, own)
		more := domain.IsInstaller(has) && !sso.By.Installer
		for _, scope := range own.Scopes(has) {
			more = more || (!slices.Contains(own.Scopes(gives), scope) && !slices.Contains(sso.By.Scopes, scope))
		}
		require.Equal(t, !more, found)
	})
}
