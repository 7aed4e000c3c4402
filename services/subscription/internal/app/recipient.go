package app

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// Addresses of mail are personal data: they are in a table of their own, in no event and no answer that is kept for a repeated
// command, and erased with their recipient.

// PutMailRecipient makes a recipient of that name, or makes that one, by its name or id, as the specification says.
func (s *Subscriptions) PutMailRecipient(ctx context.Context, nameOrID string, spec *subscriptionv1.MailRecipientSpec) (store.MailRecipient, error) {
	row, err := execute(ctx, s, func(ctx context.Context, ch *change) (store.MailRecipient, error) {
		before, err := ch.putMailRecipient(ctx, nameOrID, spec, "name", "")
		if err != nil {
			return store.MailRecipient{}, err
		}
		if before != nil {
			nameOrID = before.ID
		}
		row, err := store.FindMailRecipient(ctx, ch, ch.tenant, nameOrID)
		row.Address = ""
		return row, err
	})
	if err == nil {
		row.Address = spec.GetAddress() // a repeated request says it again
	}
	return row, err
}

// putMailRecipient returns what the recipient was before, nil for none. Paths are as for putWebhook.
func (ch *change) putMailRecipient(ctx context.Context, nameOrID string, spec *subscriptionv1.MailRecipientSpec, namePath, at string) (before *store.MailRecipient, err error) {
	if err := domain.CheckMailRecipient(spec.GetAddress(), spec.GetEvents(), at); err != nil {
		return nil, err
	}
	next := store.MailRecipient{ID: newID(), Name: nameOrID, Address: spec.GetAddress(), Account: spec.GetAccount(), Events: spec.GetEvents(), Disabled: spec.GetDisabled()}
	if next.Account != "" {
		if next.AccountID, err = ch.account(ctx, at+"account", next.Account); err != nil {
			return nil, err
		}
	}
	row, err := store.FindMailRecipient(ctx, ch, ch.tenant, nameOrID)
	switch {
	case err == nil:
		before, next.ID, next.Name = &row, row.ID, row.Name
		if row.Address == next.Address && row.AccountID == next.AccountID && slices.Equal(row.Events, next.Events) && row.Disabled == next.Disabled {
			return before, nil
		}
	case !errors.Is(err, pgx.ErrNoRows):
		return nil, err
	default:
		all, err := store.MailRecipients(ctx, ch, ch.tenant, "", maxTold)
		if err != nil {
			return nil, err
		}
		if err := checkNew(nameOrID, namePath, len(all), "recipients of mail"); err != nil {
			return nil, err
		}
	}
	if err := store.SetMailAddress(ctx, ch, ch.tenant, next.ID, next.Address); err != nil {
		return nil, err
	}
	return before, ch.appendRecipient(ctx, next.ID, &subscriptionv1.MailRecipientSet{
		Recipient: next.ID, Name: next.Name, Account: next.AccountID, Events: next.Events, Disabled: next.Disabled,
	})
}

// account finds the account that is named at a path.
func (ch *change) account(ctx context.Context, path, nameOrID string) (string, error) {
	id, err := store.FindAccount(ctx, ch, ch.tenant, nameOrID)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", problem.NewInvalid("recipient-invalid", "The recipient is not valid.").With(problem.Field{
			Path: path, Message: "there is no account \"" + nameOrID + "\"; name one that exists",
		})
	}
	return id, err
}

func (ch *change) appendRecipient(ctx context.Context, id string, event proto.Message) error {
	history, err := ch.Load(ctx, recipientStream, id)
	if err != nil {
		return err
	}
	return ch.recordIn(ctx, recipientStream, id, uint64(len(history)), []proto.Message{event})
}

// DeleteMailRecipient ends a recipient and erases the address. What is on its way is still delivered, and erased then.
func (s *Subscriptions) DeleteMailRecipient(ctx context.Context, nameOrID string) error {
	_, err := execute(ctx, s, func(ctx context.Context, ch *change) (struct{}, error) {
		row, err := store.FindMailRecipient(ctx, ch, ch.tenant, nameOrID)
		if err != nil {
			return struct{}{}, recipientNotFound(err, nameOrID)
		}
		if err := store.DeleteMailAddress(ctx, ch, row.ID); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, ch.appendRecipient(ctx, row.ID, &subscriptionv1.MailRecipientDeleted{Recipient: row.ID})
	})
	return err
}

// MailRecipient returns a recipient by its name or id.
func (s *Subscriptions) MailRecipient(ctx context.Context, nameOrID string) (store.MailRecipient, error) {
	return read(ctx, s, func(tx pgx.Tx, tenant string) (store.MailRecipient, error) {
		row, err := store.FindMailRecipient(ctx, tx, tenant, nameOrID)
		return row, recipientNotFound(err, nameOrID)
	})
}

// MailRecipients returns recipients in the order of their names, after one.
func (s *Subscriptions) MailRecipients(ctx context.Context, after string, limit int) ([]store.MailRecipient, error) {
	return read(ctx, s, func(tx pgx.Tx, tenant string) ([]store.MailRecipient, error) {
		return store.MailRecipients(ctx, tx, tenant, after, limit)
	})
}

func recipientNotFound(err error, nameOrID string) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.NewNotFound("recipient-not-found", "There is no recipient of mail %q.", nameOrID)
	}
	return err
}
