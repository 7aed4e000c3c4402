package domain

import (
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// SingleSignOn says at which OpenID provider the members of a tenant sign in, and which roles they have.
type SingleSignOn struct {
	Issuer, ClientID string
	// Domain is that of the mail addresses that may sign in.
	Domain string
	// RolesClaim names the claim from whose values roles follow.
	RolesClaim string
	Mappings   []RoleMapping
	// DefaultRoles are those of whom no mapping fits; none means that they are refused.
	DefaultRoles []string
	// By is what whoever set it may do.
	By Giver
}

// RoleMapping gives roles for a value of a claim.
type RoleMapping struct {
	Value string   `json:"value" required:"true"`
	Roles []string `json:"roles" required:"true"`
}

// Evolve applies an event.
func (s SingleSignOn) Evolve(event proto.Message) SingleSignOn {
	switch e := event.(type) {
	case *identityv1.SingleSignOnSet:
		set := SingleSignOn{
			Issuer: e.GetIssuer(), ClientID: e.GetClientId(), Domain: e.GetDomain(), RolesClaim: e.GetRolesClaim(),
			DefaultRoles: e.GetDefaultRoles(), By: Giver{Scopes: e.GetScopes(), Installer: e.GetOperator()},
		}
		for _, m := range e.GetMappings() {
			set.Mappings = append(set.Mappings, RoleMapping{m.GetValue(), m.GetRoles()})
		}
		return set
	case *identityv1.SingleSignOnRemoved:
		return SingleSignOn{}
	}
	return s
}

var domainPattern = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$`)

// Set makes it as want says.
func (s SingleSignOn) Set(want SingleSignOn, own Roles, by Giver) ([]proto.Message, error) {
	var fields problem.Fields
	if message := CheckIssuer(want.Issuer); message != "" {
		fields.Add("issuer", "%s", message)
	}
	if want.ClientID == "" || len(want.ClientID) > 500 {
		fields.Add("clientId", "is empty or longer than 500 bytes; give the id that the provider knows Tollgate by")
	}
	if !domainPattern.MatchString(want.Domain) {
		fields.Add("domain", "%q is not a domain in lower case; want one as in example.com", want.Domain)
	}
	if len(want.Mappings) > 0 && want.RolesClaim == "" {
		fields.Add("rolesClaim", "is empty; name the claim that mappings are for, as in groups")
	}
	if len(want.Mappings) == 0 && len(want.DefaultRoles) == 0 {
		fields.Add("defaultRoles", "is empty, as mappings is: nobody could sign in")
	}
	if len(want.Mappings) > 200 {
		fields.Add("mappings", "has %d entries; at most 200 are taken", len(want.Mappings))
	}
	var given []string
	for _, m := range want.Mappings {
		if m.Value == "" || len(m.Roles) == 0 {
			fields.Add("mappings", "has an entry without a value or without roles")
		}
		given = append(given, m.Roles...)
	}
	given = append(given, want.DefaultRoles...)
	if slices.Contains(given, Installer) {
		fields.Add("mappings", "gives the role installer, which no provider can give")
	}
	if err := fields.Err("single-sign-on-invalid", "The configuration of single sign-on is not valid."); err != nil {
		return nil, err
	}
	slices.Sort(given)
	if err := own.Check(slices.Compact(given), nil, by); err != nil {
		return nil, err
	}
	set := &identityv1.SingleSignOnSet{
		Issuer: want.Issuer, ClientId: want.ClientID, Domain: want.Domain, RolesClaim: want.RolesClaim, DefaultRoles: want.DefaultRoles,
		Scopes: by.Scopes, Operator: by.Installer,
	}
	for _, m := range want.Mappings {
		set.Mappings = append(set.Mappings, &identityv1.RoleMapping{Value: m.Value, Roles: m.Roles})
	}
	return []proto.Message{set}, nil
}

// Remove ends it.
func (s SingleSignOn) Remove() ([]proto.Message, error) {
	if s.Issuer == "" {
		return nil, singleSignOnMissing()
	}
	return []proto.Message{&identityv1.SingleSignOnRemoved{Issuer: s.Issuer}}, nil
}

func singleSignOnMissing() error {
	return problem.NewNotFound("single-sign-on-not-found", "The tenant has no single sign-on.")
}

// RolesOf returns the roles of a person whose claim has the values: those of all mappings that fit, else the default ones,
// sorted. Roles that are not there any more are left out. None means that the person is refused.
func (s SingleSignOn) RolesOf(values []string, own Roles) []string {
	var roles []string
	for _, m := range s.Mappings {
		if slices.Contains(values, m.Value) {
			roles = append(roles, m.Roles...)
		}
	}
	if len(roles) == 0 {
		roles = slices.Clone(s.DefaultRoles)
	}
	roles = slices.DeleteFunc(roles, func(role string) bool {
		_, exists := own[role]
		return role == Installer || (roleScopes[role] == nil && !exists)
	})
	slices.Sort(roles)
	return slices.Compact(roles)
}

// Finds says whether a member who is there already, with the roles has, is found by the address: nobody takes over a member by
// being the provider who may more than the roles that it gives, and than whoever set it up.
func (s SingleSignOn) Finds(has, gives []string, own Roles) bool {
	by := Giver{Scopes: append(own.Scopes(gives), s.By.Scopes...), Installer: s.By.Installer}
	return own.Covered(has, by)
}

// Admits says whether a mail address is of the domain.
func (s SingleSignOn) Admits(email string) bool {
	_, domain, found := strings.Cut(email, "@")
	return found && strings.EqualFold(domain, s.Domain) && !strings.Contains(domain, "@")
}

// SignInRoles gives the member the roles that single sign-on says, besides installer, which stays. The last owner stays one.
func (m Member) SignInRoles(roles []string, otherOwners int) []proto.Message {
	if slices.Contains(m.Roles, Installer) {
		roles = append(slices.Clone(roles), Installer)
	}
	if m.leads(m.Roles) && !m.leads(roles) && otherOwners == 0 {
		roles = append(slices.Clone(roles), Owner)
	}
	has, want := slices.Sorted(slices.Values(m.Roles)), slices.Compact(slices.Sorted(slices.Values(roles)))
	if slices.Equal(has, want) {
		return nil
	}
	return []proto.Message{&identityv1.MemberRolesChanged{Member: m.ID, Roles: want}}
}
