package engine

import "syscall"

// processAttributes puts the child in a process group of its own, so that a terminal's interrupt reaches the parent alone, which then
// stops its children in order, and has the kernel send onParentDeath when the thread that starts the child ends.
func processAttributes(as *account, onParentDeath syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: onParentDeath, Credential: as.credential()}
}
