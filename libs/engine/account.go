package engine

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the operating system user an engine runs as when it must not run as the parent's. A nil account means the
// parent's own user.
type account struct {
	name     string
	uid, gid int
}

// unprivileged returns nobody when the process runs as root (PostgreSQL refuses root, and an engine has no use for it),
// otherwise nil: an ordinary user runs the engines as itself.
func unprivileged() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	// It has to be a user the system knows: initdb looks its name up.
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return nil, fmt.Errorf("running as root, the engines need the user nobody to run as: %w", err)
	}
	uid, uidErr := strconv.Atoi(nobody.Uid)
	gid, gidErr := strconv.Atoi(nobody.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("read the ids of the user nobody: %w", err)
	}
	return &account{name: nobody.Username, uid: uid, gid: gid}, nil
}

func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	// Groups left empty drops root's supplementary groups.
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
}

// own hands a file or folder to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	if err := os.Lchown(path, a.uid, a.gid); err != nil {
		return fmt.Errorf("hand %s to the user %s: %w", path, a.name, err)
	}
	return nil
}

// reaches checks that the account can get to path: every folder on the way must let others pass. It says which one does
// not, where the engine itself would only say "permission denied".
func (a *account) reaches(path string) error {
	if a == nil {
		return nil
	}
	for folder := filepath.Dir(path); ; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		if err != nil {
			return fmt.Errorf("check the way to %s: %w", path, err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("running as root, the engines run as the user %s, which cannot reach %s: "+
				"%s has mode %04o; allow passing with `chmod o+x %s`, use another folder, or do not run as root",
				a.name, path, folder, info.Mode().Perm(), folder)
		}
		if folder == filepath.Dir(folder) {
			return nil
		}
	}
}
