package app

import (
	"context"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/resource"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// Apply makes accounts and applications as the documents say, all of them or none.
func (i *Identity) Apply(ctx context.Context, request resource.ApplyRequest) (resource.ApplyResponse, error) {
	return execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (resource.ApplyResponse, error) {
		return resource.ApplyAll(request, "identity", func(r resource.Resource, spec proto.Message) (proto.Message, error) {
			return i.put(ctx, tx, r, spec)
		})
	})
}

func (i *Identity) put(ctx context.Context, tx *eventlog.Tx, r resource.Resource, spec proto.Message) (proto.Message, error) {
	switch s := spec.(type) {
	case *identityv1.AccountSpec:
		_, before, err := i.putAccount(ctx, tx, r.Metadata.Name, s)
		return orNil(before), err
	case *identityv1.ApplicationSpec:
		_, before, err := i.putApplication(ctx, tx, r.Metadata.Account, r.Metadata.Name, s)
		return orNil(before), err
	}
	return nil, nil
}

// orNil turns a nil pointer into a nil message.
func orNil[T any, M interface {
	*T
	proto.Message
}](m M) proto.Message {
	if m == nil {
		return nil
	}
	return m
}

// exportPage is how many rows are read at once for an export.
const exportPage = 1000

// Export returns every open account and each of its applications that was not deleted.
func (i *Identity) Export(ctx context.Context) (resource.Export, error) {
	return read(ctx, i, func(tx pgx.Tx, tenant string) (resource.Export, error) {
		out := resource.Export{Resources: []resource.Resource{}}
		for after := ""; ; {
			rows, err := store.Accounts(ctx, tx, tenant, "", after, exportPage)
			if err != nil {
				return out, err
			}
			for _, a := range rows {
				after = a.Name
				if !a.Closed {
					if err := add(&out, "Account", resource.Metadata{Name: a.Name}, accountSpec(a)); err != nil {
						return out, err
					}
				}
			}
			if len(rows) < exportPage {
				return out, exportApplications(ctx, tx, tenant, &out)
			}
		}
	})
}

func exportApplications(ctx context.Context, tx pgx.Tx, tenant string, out *resource.Export) error {
	for after := ""; ; {
		rows, err := store.Applications(ctx, tx, tenant, "", "", after, exportPage)
		if err != nil {
			return err
		}
		for _, a := range rows {
			after = a.Name
			if !a.Deleted && !a.AccountClosed {
				if err := add(out, "Application", resource.Metadata{Name: a.Name, Account: a.Account}, applicationSpec(a)); err != nil {
					return err
				}
			}
		}
		if len(rows) < exportPage {
			return nil
		}
	}
}

func add(out *resource.Export, kind string, m resource.Metadata, spec proto.Message) error {
	r, err := resource.NewResource(kind, m, spec)
	out.Resources = append(out.Resources, r)
	return err
}
