package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/password"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// resetLifetime is how long a password can be reset with a mail.
const resetLifetime = time.Hour

// resetRate is that of mails to one member, resetAddressRate that of requests and tries from one address.
var (
	resetRate        = store.Limit{Interval: 10 * time.Minute, Burst: 3}
	resetAddressRate = store.Limit{Interval: 5 * time.Second, Burst: 20}
)

func checkPassword(path, text string, s store.SignIn) error {
	if err := password.Check(text, s.Name, s.Email, s.TenantName, "tollgate"); err != nil {
		return problem.NewInvalid("password-invalid", "The password cannot be taken.").With(problem.Field{Path: path, Message: err.Error()})
	}
	return nil
}

// ChangePassword gives the acting member another password, or a first one, and ends all of their sessions.
func (i *Identity) ChangePassword(ctx context.Context, current, fresh string) error {
	s, err := i.authenticated(ctx, current)
	if err != nil {
		return err
	}
	if err := checkPassword("password", fresh, s); err != nil {
		return err
	}
	return i.setPassword(withoutKey(ctx), s, fresh, false, func(context.Context, *eventlog.Tx) error { return nil })
}

func (i *Identity) setPassword(ctx context.Context, s store.SignIn, fresh string, reset bool, check func(context.Context, *eventlog.Tx) error) error {
	encoded, err := i.passwords.Hash(ctx, fresh)
	if err != nil {
		return err
	}
	_, err = execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		if err := check(ctx, tx); err != nil {
			return struct{}{}, err
		}
		m, version, err := loadMember(ctx, tx, s.Member)
		if err != nil {
			return struct{}{}, err
		}
		events, err := m.SetPassword(reset)
		if err != nil {
			return struct{}{}, err
		}
		tx.Append("member", s.Member, version, events...)
		if err := store.SetPassword(ctx, tx, s.Tenant, s.Member, encoded); err != nil {
			return struct{}{}, err
		}
		ids, err := store.EndSessions(ctx, tx, s.Member)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, endSessions(ctx, tx, ids, "passwordChanged")
	})
	return err
}

// RequestPasswordReset asks for a mail with which a member sets another password. Whether there is such a member is not
// told: the request is the same for all, and a worker comes to it.
func (i *Identity) RequestPasswordReset(ctx context.Context, tenantName, email string) error {
	if err := resource.CheckName(tenantName); err != nil {
		return problem.NewInvalid("request-invalid", "The request is not valid.").With(problem.Field{Path: "tenant", Message: err.Error()})
	}
	if err := checkEmail(email); err != nil {
		return err
	}
	if err := i.take(ctx, grant{resetAddressRate, "reset from " + addressOf(ctx)}); err != nil {
		return err
	}
	id := newID()
	err := i.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		return store.PutResetRequest(ctx, tx, id, tenantName, i.seal.Close(id, []byte(email)))
	})
	if err == nil {
		i.nudge()
	}
	return err
}

// mailReset answers the oldest request for a password reset; false when there is none. One that fails for a lasting reason is
// given up, so that it holds up no other; whoever asked can ask again.
func (i *Identity) mailReset(ctx context.Context) (bool, error) {
	ctx = principal.With(ctx, principal.Service("identity", principal.AllTenants))
	taken := ""
	more, err := i.answerReset(ctx, &taken)
	if err == nil || taken == "" || ctx.Err() != nil || !lasting(err) {
		return more, err
	}
	i.logger.LogAttrs(ctx, slog.LevelError, "a password reset was given up", slog.String("request", taken), slog.Any("error", err))
	return true, i.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error { return store.DeleteResetRequest(ctx, tx, taken) })
}

// lasting says that what failed would fail again.
func lasting(err error) bool {
	switch problem.KindOf(err) {
	case problem.Conflict, problem.Exhausted, problem.Unavailable, problem.Timeout:
		return false
	}
	return !postgres.Transient(err)
}

// answerReset is mailReset for one try. It sets taken to the id of the request.
func (i *Identity) answerReset(ctx context.Context, taken *string) (bool, error) {
	return execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (bool, error) {
		id, tenantName, sealed, ok, err := store.TakeResetRequest(ctx, tx)
		*taken = id
		if err != nil || !ok {
			return false, err
		}
		email, err := i.seal.Open(id, sealed)
		if err != nil {
			return true, nil //nolint:nilerr // sealed with a key that is gone: nobody can answer it
		}
		s, err := store.FindSignIn(ctx, tx, tenantName, string(email))
		if errors.Is(err, pgx.ErrNoRows) {
			return true, nil
		}
		if err != nil {
			return true, err
		}
		if wait, err := resetRate.Take(ctx, tx, "reset of "+s.Member, i.now()); err != nil || wait > 0 {
			return true, err
		}
		return true, i.sendReset(ctx, tx, s)
	})
}

func (i *Identity) sendReset(ctx context.Context, tx *eventlog.Tx, s store.SignIn) error {
	history, err := tx.LoadFor(ctx, s.Tenant, "member", s.Member)
	if err != nil {
		return err
	}
	token, id, expires := newSecret(), newID(), i.now().Add(resetLifetime)
	tx.AppendFor(s.Tenant, "member", s.Member, uint64(len(history)), &identityv1.PasswordResetRequested{Member: s.Member, ExpiresAt: expires.Unix()})
	if err := store.InsertReset(ctx, tx, s.Tenant, s.Member, hash(token), expires); err != nil {
		return err
	}
	text := "Somebody asked for another password for your access to " + s.TenantName + ". If it was not you, leave this mail alone.\n\n" +
		i.howTo("password-reset", token, "/v1/password-resets/confirm", "a new password") +
		"\n\nThis works once, until " + expires.Format(time.RFC1123) + ", and ends all of your sessions.\n"
	return i.outbox.Mail(ctx, tx, s.Tenant, "password-reset "+s.Member+" "+id, notify.Mail{To: []string{s.Email}, Subject: "Your password for " + s.TenantName, Text: text})
}

// howTo tells what to do with a token: a link into the console, or what to send where while there is none.
func (i *Identity) howTo(page, token, path, with string) string {
	if i.config.WebURL != "" {
		return "Go on here:\n" + i.webPage(page, "token", token)
	}
	return "Send this token with " + with + " to POST " + i.config.Issuer + path + ":\n" + token
}

// webPage returns the address of a page of the console. What it is given is in the fragment, which no server sees.
func (i *Identity) webPage(page, name, value string) string {
	return strings.TrimSuffix(i.config.WebURL, "/") + "/" + page + "#" + name + "=" + value
}

// ResetPassword gives a member another password by the token of a mail, which is good once, and ends all of their
// sessions. A second factor stays.
func (i *Identity) ResetPassword(ctx context.Context, token, fresh string) error {
	if err := i.take(ctx, grant{resetAddressRate, "reset from " + addressOf(ctx)}); err != nil {
		return err
	}
	unknown := problem.NewNotFound("password-reset-not-found", "The token is not known, has expired or was used. Ask for another mail.")
	s, err := readAll(ctx, i, func(tx pgx.Tx) (store.SignIn, error) {
		_, member, err := store.FindReset(ctx, tx, hash(token), i.now())
		if err != nil {
			return store.SignIn{}, err
		}
		return store.MemberSignIn(ctx, tx, member)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return unknown
	}
	if err != nil {
		return err
	}
	if err := checkPassword("password", fresh, s); err != nil {
		return err
	}
	return i.setPassword(asMember(ctx, s.Tenant, s.Member), s, fresh, true, func(ctx context.Context, tx *eventlog.Tx) error {
		used, err := store.UseResets(ctx, tx, s.Member, hash(token))
		if err == nil && !used {
			err = unknown
		}
		return err
	})
}
