package app

import (
	"context"
	"crypto/subtle"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"github.com/tollgate/tollgate/libs/apibridge"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

var (
	// signInAddressRate is that of attempts from one address, signInRate that of attempts for one member, whether there is
	// such a member or not (NIST SP 800-63B-4, section 3.2.2).
	signInAddressRate = store.Limit{Interval: 2 * time.Second, Burst: 30}
	signInRate        = store.Limit{Interval: 30 * time.Second, Burst: 10}
)

// The ways to sign in, as SessionStarted names them.
const (
	byPassword     = "password"
	byTOTP         = "passwordAndTOTP"
	byRecoveryCode = "passwordAndRecoveryCode"
	bySSO          = "sso"
)

// StartedSession is a session that was just started.
type StartedSession struct {
	store.Session
	// Token is the session's own, which is exchanged for signed tokens; only its hash is kept.
	Token string `json:"token"`
}

// SignIn starts a session for a member. code is a one-time password or a recovery code, for members with a second factor.
// Whether there is no such member, no password, or a wrong one, is not told, and takes the same time.
func (i *Identity) SignIn(ctx context.Context, tenantName, email, secret, code string) (StartedSession, error) {
	attempts := grant{signInRate, "sign in " + tenantName + " " + strings.ToLower(email)}
	if err := i.take(ctx, grant{signInAddressRate, "sign in from " + addressOf(ctx)}, attempts); err != nil {
		return StartedSession{}, err
	}
	found, err := readAll(ctx, i, func(tx pgx.Tx) (store.SignIn, error) { return store.FindSignIn(ctx, tx, tenantName, email) })
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return StartedSession{}, err
	}
	ok, err := i.passwords.Matches(ctx, found.Password, secret)
	if err != nil {
		return StartedSession{}, err
	}
	failed := problem.NewUnauthenticated("sign-in-failed", "The tenant, the e-mail address or the password is wrong.")
	if !ok {
		return StartedSession{}, failed
	}
	if found.TOTPConfirmed && code == "" {
		return StartedSession{}, problem.NewUnauthenticated("second-factor-required", "Give a one-time password of your second factor, or a recovery code, as code.")
	}
	session, err := i.startSession(asMember(ctx, found.Tenant, found.Member), found.Member, func(ctx context.Context, tx *eventlog.Tx) (string, error) {
		// Another password ends all sessions: none may start by the one that was compared before.
		now, err := store.LockAuthenticator(ctx, tx, found.Member)
		if err != nil {
			return "", err
		}
		if now != found.Password {
			return "", failed
		}
		if !found.TOTPConfirmed {
			return byPassword, nil
		}
		return i.useSecondFactor(ctx, tx, found, code)
	})
	if err != nil {
		return StartedSession{}, err
	}
	return session, i.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error { return store.Forget(ctx, tx, attempts.whom) })
}

// asMember returns a context in which a member acts who has just proven to be that one. What they do comes with secrets, so
// that no answer is kept for a repetition, nor a hash of the request.
func asMember(ctx context.Context, tenant, member string) context.Context {
	return withoutKey(principal.With(ctx, principal.Principal{Tenant: tenant, Subject: "member:" + member}))
}

func withoutKey(ctx context.Context) context.Context {
	c := principal.CommandFrom(ctx)
	c.Key, c.Hash = "", [32]byte{}
	return principal.WithCommand(ctx, c)
}

// startSession starts a session of the acting member, if check says how they signed in.
func (i *Identity) startSession(ctx context.Context, member string, check func(context.Context, *eventlog.Tx) (method string, err error)) (StartedSession, error) {
	token := apibridge.SessionPrefix + newSecret()
	session, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (store.Session, error) {
		method, err := check(ctx, tx)
		if err != nil {
			return store.Session{}, err
		}
		caller, now := operation.CallerFrom(ctx), i.now()
		s := store.Session{
			ID: newID(), Member: member, Method: method, Address: caller.Address, UserAgent: caller.UserAgent,
			CreatedAt: now, UsedAt: now, ExpiresAt: now.Add(i.config.SessionLifetime),
		}
		tx.Append("session", s.ID, 0, &identityv1.SessionStarted{Session: s.ID, Member: member, Method: method, ExpiresAt: s.ExpiresAt.Unix()})
		return s, store.InsertSession(ctx, tx, actor(ctx).Tenant, s, hash(token))
	})
	return StartedSession{Session: session, Token: token}, err
}

// useSecondFactor takes a one-time password or a recovery code, each once, and returns the way to sign in.
func (i *Identity) useSecondFactor(ctx context.Context, tx *eventlog.Tx, s store.SignIn, code string) (string, error) {
	refused := problem.NewUnauthenticated("second-factor-invalid", "The code is wrong, has expired or was used.")
	code = strings.ReplaceAll(strings.TrimSpace(code), " ", "")
	if len(code) == otp.DigitsSix.Length() {
		step, err := i.matchTOTP(s, code)
		if err != nil || step == 0 {
			return "", orRefused(err, refused)
		}
		fresh, err := store.UseTOTPStep(ctx, tx, s.Member, step)
		if err != nil || !fresh {
			return "", orRefused(err, refused)
		}
		return byTOTP, nil
	}
	left, used, err := store.UseRecoveryCode(ctx, tx, s.Member, hash(code))
	if err != nil || !used {
		return "", orRefused(err, refused)
	}
	_, version, err := loadMember(ctx, tx, s.Member)
	tx.Append("member", s.Member, version, &identityv1.RecoveryCodeUsed{Member: s.Member, Left: uint32(left)})
	return byRecoveryCode, err
}

func orRefused(err error, refused error) error {
	if err != nil {
		return err
	}
	return refused
}

// totpPeriod is the time step of one-time passwords (RFC 6238, section 4.1).
const totpPeriod = 30

// matchTOTP returns the time step that a one-time password is of, 0 for none; one step early or late is taken.
func (i *Identity) matchTOTP(s store.SignIn, code string) (int64, error) {
	secret, err := i.seal.Open(totpSeal(s.Member), s.TOTP)
	if err != nil {
		return 0, err
	}
	now := i.now().Unix() / totpPeriod
	for step := now - 1; step <= now+1; step++ {
		want, err := hotp.GenerateCodeCustom(string(secret), uint64(step), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return 0, err
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			return step, nil
		}
	}
	return 0, nil
}

func totpSeal(member string) string { return "totp " + member }

// exchangeSession returns who a session's token stands for. Each use keeps the session from being idle.
func (i *Identity) exchangeSession(ctx context.Context, token string) (principal.Principal, error) {
	now := i.now()
	holder, err := readAll(ctx, i, func(tx pgx.Tx) (store.SessionHolder, error) {
		h, err := store.FindSessionHolder(ctx, tx, hash(token), now, now.Add(-i.config.SessionIdle), now.Add(-min(time.Minute, i.config.SessionIdle/4)))
		if err == nil && h.Stale {
			err = store.UseSession(ctx, tx, h.ID, now)
		}
		return h, err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return principal.Principal{}, problem.NewUnauthenticated("session-ended", "The session is not known, has ended or was idle for too long. Sign in again.")
	}
	if err != nil {
		return principal.Principal{}, err
	}
	return i.principalOf(ctx, holder.Tenant, holder.Member, holder.Account, holder.Roles)
}

// principalOf returns a member as a principal with all that their roles allow.
func (i *Identity) principalOf(ctx context.Context, tenant, member, account string, roles []string) (principal.Principal, error) {
	p := principal.Principal{Tenant: tenant, Subject: "member:" + member, Account: account}
	if account != "" {
		p.Scopes = domain.AccountScopes(roles)
		return p, nil
	}
	own, err := readAll(ctx, i, func(tx pgx.Tx) (domain.Roles, error) { return ownRoles(ctx, tx, tenant) })
	p.Scopes, p.Operator = own.Scopes(roles), domain.IsInstaller(roles)
	return p, err
}

// endSessions ends every session of a member.
func endSessions(ctx context.Context, tx *eventlog.Tx, ids []string, cause string) error {
	for _, id := range ids {
		if err := endSession(ctx, tx, id, cause); err != nil {
			return err
		}
	}
	return nil
}

func endSession(ctx context.Context, tx *eventlog.Tx, id, cause string) error {
	history, err := tx.Load(ctx, "session", id)
	if err != nil {
		return err
	}
	s := eventlog.Fold(history, domain.Session{}, domain.Session.Evolve)
	tx.Append("session", id, uint64(len(history)), s.End(cause)...)
	return nil
}

// Sessions returns the sessions of a member that go on: one's own, or with the scope identity.admin anybody's.
func (i *Identity) Sessions(ctx context.Context, member string) ([]store.Session, error) {
	own := ownID(ctx)
	if member == "" {
		member = own
	}
	if member != own && !actor(ctx).May("identity.admin") {
		return nil, problem.NewDenied("scope-missing", "Seeing another member's sessions needs the scope identity.admin.")
	}
	return read(ctx, i, func(tx pgx.Tx, _ string) ([]store.Session, error) {
		return store.Sessions(ctx, tx, member, i.now(), i.now().Add(-i.config.SessionIdle))
	})
}

// EndSession ends a session: one's own, or with the scope identity.admin anybody's.
func (i *Identity) EndSession(ctx context.Context, id string) error {
	_, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		member, err := store.SessionMember(ctx, tx, id)
		if err == nil && member != ownID(ctx) && !actor(ctx).May("identity.admin") {
			err = pgx.ErrNoRows
		}
		if err != nil {
			return struct{}{}, notFound(err, "session-not-found", "There is no such session.")
		}
		cause := "signOut"
		if member != ownID(ctx) {
			cause = "revoked"
		}
		if err := endSession(ctx, tx, id, cause); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, store.EndSession(ctx, tx, id)
	})
	return err
}

// ownID returns the id of the acting member.
func ownID(ctx context.Context) string { return strings.TrimPrefix(actor(ctx).Subject, "member:") }
