package app

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// recoveryCodes is how many codes come with a second factor.
const recoveryCodes = 10

// SecondFactor is a TOTP secret as it is shown once.
type SecondFactor struct {
	// Secret is in base32, URI the same as authenticator applications read it from a QR code.
	Secret string `json:"secret"`
	URI    string `json:"uri"`
}

// StartSecondFactor makes a TOTP secret (RFC 6238) for the acting member, which counts once it is confirmed.
func (i *Identity) StartSecondFactor(ctx context.Context, secret string) (SecondFactor, error) {
	s, err := i.authenticated(ctx, secret)
	if err != nil {
		return SecondFactor{}, err
	}
	if s.TOTPConfirmed {
		return SecondFactor{}, problem.NewConflict("second-factor-enabled", "There is a second factor already; disable it first.")
	}
	name := s.Email
	if name == "" {
		name = s.Member
	}
	key, err := totp.Generate(totp.GenerateOpts{
		Issuer: "Tollgate " + s.TenantName, AccountName: name, Period: totpPeriod, SecretSize: 20, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1,
	})
	if err != nil {
		return SecondFactor{}, err
	}
	_, err = execute(withoutKey(ctx), i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		return struct{}{}, store.SetTOTP(ctx, tx, s.Tenant, s.Member, i.seal.Close(totpSeal(s.Member), []byte(key.Secret())))
	})
	return SecondFactor{Secret: key.Secret(), URI: key.URL()}, err
}

// ConfirmSecondFactor makes the secret count, and returns recovery codes, of which only hashes are kept.
func (i *Identity) ConfirmSecondFactor(ctx context.Context, code string) ([]string, error) {
	s, err := i.ownSignIn(ctx)
	if err != nil {
		return nil, err
	}
	codes, hashes := make([]string, recoveryCodes), make([][]byte, recoveryCodes)
	for n := range codes {
		codes[n] = newSecret()[:16]
		hashes[n] = hash(codes[n])
	}
	_, err = execute(withoutKey(ctx), i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		m, version, err := loadMember(ctx, tx, s.Member)
		if err != nil {
			return struct{}{}, err
		}
		events, err := m.EnableSecondFactor()
		switch {
		case err != nil:
			return struct{}{}, err
		case s.TOTP == nil:
			return struct{}{}, problem.NewConflict("second-factor-missing", "There is no secret to confirm: begin with POST /identity/v1/me/totp.")
		}
		if err := i.useTOTP(ctx, tx, s, code); err != nil {
			return struct{}{}, err
		}
		tx.Append("member", s.Member, version, events...)
		return struct{}{}, store.ConfirmTOTP(ctx, tx, s.Tenant, s.Member, hashes)
	})
	return codes, err
}

func (i *Identity) useTOTP(ctx context.Context, tx *eventlog.Tx, s store.SignIn, code string) error {
	if method, err := i.useSecondFactor(ctx, tx, s, code); err != nil || method == byTOTP {
		return err
	}
	return problem.NewInvalid("second-factor-invalid", "Give a one-time password of the new second factor.")
}

// DisableSecondFactor takes away the acting member's second factor, which is proven once more.
func (i *Identity) DisableSecondFactor(ctx context.Context, code string) error {
	s, err := i.ownSignIn(ctx)
	if err != nil {
		return err
	}
	if err := i.take(ctx, grant{signInRate, "second factor of " + s.Member}); err != nil {
		return err
	}
	return i.clearSecondFactor(withoutKey(ctx), s.Member, func(ctx context.Context, tx *eventlog.Tx) error {
		_, err := i.useSecondFactor(ctx, tx, s, code)
		return err
	})
}

// ResetSecondFactor takes away the second factor of a member who has lost it.
func (i *Identity) ResetSecondFactor(ctx context.Context, member string) error {
	return i.clearSecondFactor(ctx, member, func(ctx context.Context, tx *eventlog.Tx) error {
		m, _, err := loadMember(ctx, tx, member)
		if err != nil {
			return err
		}
		return mayBecome(ctx, tx, m)
	})
}

func (i *Identity) clearSecondFactor(ctx context.Context, member string, check func(context.Context, *eventlog.Tx) error) error {
	_, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		m, _, err := loadMember(ctx, tx, member)
		if err != nil {
			return struct{}{}, err
		}
		events, err := m.DisableSecondFactor()
		if err != nil {
			return struct{}{}, err
		}
		if err := check(ctx, tx); err != nil {
			return struct{}{}, err
		}
		_, version, err := loadMember(ctx, tx, member) // with what check has appended
		if err != nil {
			return struct{}{}, err
		}
		tx.Append("member", member, version, events...)
		return struct{}{}, store.ClearTOTP(ctx, tx, member)
	})
	return err
}

// ownSignIn returns with what the acting member signs in. A token that may not do all that the member may cannot touch it:
// it could otherwise become a session that may.
func (i *Identity) ownSignIn(ctx context.Context) (store.SignIn, error) {
	p := actor(ctx)
	return read(ctx, i, func(tx pgx.Tx, tenant string) (store.SignIn, error) {
		s, err := store.MemberSignIn(ctx, tx, ownID(ctx))
		if err != nil {
			return s, notFound(err, "member-not-found", "You are not a member who signs in.")
		}
		m, err := store.FindMember(ctx, tx, s.Member)
		if err != nil {
			return s, err
		}
		own, err := ownRoles(ctx, tx, tenant)
		if err != nil {
			return s, err
		}
		missing := func(scope string) bool { return !p.May(scope) }
		if m.Account != "" && slices.ContainsFunc(domain.AccountScopes(m.Roles), missing) || m.Account == "" && !own.Covered(m.Roles, giver(ctx)) {
			return s, problem.NewDenied("scope-missing", "Your token is restricted: what you sign in with can be changed with one that may all that you may, such as a session's.")
		}
		return s, nil
	})
}

// authenticated is ownSignIn for a member who proves the password once more, if they have one.
func (i *Identity) authenticated(ctx context.Context, secret string) (store.SignIn, error) {
	s, err := i.ownSignIn(ctx)
	if err != nil || s.Password == "" {
		return s, err
	}
	if err := i.take(ctx, grant{signInRate, "password of " + s.Member}); err != nil {
		return s, err
	}
	ok, err := i.passwords.Matches(ctx, s.Password, secret)
	if err == nil && !ok {
		err = problem.NewDenied("password-wrong", "The current password is wrong.")
	}
	return s, err
}
