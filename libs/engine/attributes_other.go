//go:build !linux

package engine

import "syscall"

// processAttributes puts the child in a process group of its own, so that a terminal's interrupt reaches the parent alone, which then
// stops its children in order. Only Linux can signal a child when its parent dies.
func processAttributes(as *account, _ syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: as.credential()}
}
