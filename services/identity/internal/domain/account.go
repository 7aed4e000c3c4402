package domain

import (
	"net/mail"
	"regexp"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/problem"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// Account is a consumer organization inside a tenant. Its billing address for mail is personal data and not part of it.
type Account struct {
	ID, Name, Title, Country, Currency string
	Closed                             bool
}

// Evolve applies an event.
func (a Account) Evolve(event proto.Message) Account {
	switch e := event.(type) {
	case *identityv1.AccountCreated:
		return Account{ID: e.GetAccount(), Name: e.GetName(), Title: e.GetTitle(), Country: e.GetCountry(), Currency: e.GetCurrency()}
	case *identityv1.AccountChanged:
		a.Title, a.Country, a.Currency = e.GetTitle(), e.GetCountry(), e.GetCurrency()
	case *identityv1.AccountClosed:
		a.Closed = true
	}
	return a
}

var countryPattern = regexp.MustCompile(`^[A-Z]{2}$`)

func checkAccount(spec *identityv1.AccountSpec) error {
	var fields problem.Fields
	checkTitle("spec.title", spec.GetTitle(), &fields)
	if _, err := money.ParseCurrency(spec.GetCurrency()); err != nil {
		fields.Add("spec.currency", "%q is not an ISO 4217 code; want one as in EUR", spec.GetCurrency())
	}
	if spec.GetCountry() != "" && !countryPattern.MatchString(spec.GetCountry()) {
		fields.Add("spec.country", "%q is not an ISO 3166-1 alpha-2 code; want one as in DE", spec.GetCountry())
	}
	if spec.GetBillingEmail() != "" {
		if address, err := mail.ParseAddress(spec.GetBillingEmail()); err != nil || address.Address != spec.GetBillingEmail() {
			fields.Add("spec.billingEmail", "is not an e-mail address; want one as in billing@example.com")
		}
	}
	return fields.Err("account-invalid", "The account is not valid.")
}

// CreateAccount makes an account.
func CreateAccount(id, name string, spec *identityv1.AccountSpec) ([]proto.Message, error) {
	if err := checkAccount(spec); err != nil {
		return nil, err
	}
	return []proto.Message{&identityv1.AccountCreated{
		Account: id, Name: name, Title: spec.GetTitle(), Country: spec.GetCountry(), Currency: spec.GetCurrency(),
	}}, nil
}

// Change makes the account as the spec says. No event comes of a change of the billing address alone.
func (a Account) Change(spec *identityv1.AccountSpec) ([]proto.Message, error) {
	if a.Closed {
		return nil, problem.NewConflict("account-closed", "The account %s is closed and cannot be changed.", a.Name)
	}
	if err := checkAccount(spec); err != nil {
		return nil, err
	}
	if a.Title == spec.GetTitle() && a.Country == spec.GetCountry() && a.Currency == spec.GetCurrency() {
		return nil, nil
	}
	return []proto.Message{&identityv1.AccountChanged{
		Account: a.ID, Title: spec.GetTitle(), Country: spec.GetCountry(), Currency: spec.GetCurrency(),
	}}, nil
}

// Close ends the account.
func (a Account) Close() ([]proto.Message, error) {
	if a.Closed {
		return nil, nil
	}
	return []proto.Message{&identityv1.AccountClosed{Account: a.ID}}, nil
}
