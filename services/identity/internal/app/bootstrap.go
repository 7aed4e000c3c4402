package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tollgate/tollgate/libs/apibridge"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// Bootstrap makes the first tenant, named main, with its first owner, who is an operator of the installation too, and
// leaves the owner's personal access token in a file that only the process's user can read. It does nothing when there is
// a tenant already. The file is written before the commit: a crash between the two leaves a token that is not valid
// and is replaced the next time, never a valid one that nobody has.
func (i *Identity) Bootstrap(ctx context.Context, tokenFile string) error {
	ctx = principal.With(ctx, principal.Service("identity", principal.AllTenants))
	_, err := eventlog.Execute(ctx, i.log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		if _, err := tx.Exec(ctx, `LOCK TABLE tenants IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return struct{}{}, fmt.Errorf("lock tenants: %w", err)
		}
		n, err := store.CountTenants(ctx, tx)
		if err != nil || n > 0 {
			return struct{}{}, err
		}
		secret := apibridge.PersonalTokenPrefix + newSecret()
		owner := Person{DisplayName: "First administrator"}
		_, err = i.createTenant(ctx, tx, "main", "Main", owner, []string{domain.Owner, domain.Installer}, secret)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, writeSecret(tokenFile, secret)
	})
	if err != nil {
		return fmt.Errorf("make the first tenant: %w", err)
	}
	return nil
}

func writeSecret(path, secret string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write token file: %w", err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(secret+"\n"), 0o600); err != nil {
		return fmt.Errorf("write token file: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write token file: %w", err)
	}
	return nil
}
