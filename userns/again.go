package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// goFD is the descriptor by which a program that Command starts learns that its
// ids are mapped.
const goFD = 3

// fileCaps are the capabilities over files that such a program has, as far as
// they belong to its ids: see capabilities(7).
var fileCaps = []uintptr{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_SETFCAP}

// Command is this program, to be started once more by RunIn in a user namespace
// of its own: for files of subordinate ids, over which only such a process has
// a say. It must call Await before anything else.
func Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "/proc/self/exe", args...)
}

// Inherited lets this process's memory be inherited by children again, which
// starting a sandbox forbids (madvise(2), MADV_DONTFORK). A process that is
// cloned with CLONE_NEWUSER has a copy of its parent's memory to start with,
// where others borrow it: without, it would die by SIGSEGV.
func Inherited() {
	const all = 1<<48 - 1<<12 // of user space; holes give ENOMEM once all else was marked
	_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, 0, all, unix.MADV_DOFORK)
}

// RunIn runs cmd, which is a Command, in a new user namespace with these maps,
// which newuidmap(1) and newgidmap(1) write. It has the rights over files that root
// has there, and those of more (capabilities(7)).
func RunIn(cmd *exec.Cmd, uids, gids Map, more ...uintptr) error {
	newuidmap, err := FindHelper("newuidmap")
	if err != nil {
		return err
	}
	newgidmap, err := FindHelper("newgidmap")
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	cmd.ExtraFiles = []*os.File{r} // goFD
	Inherited()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, AmbientCaps: slices.Concat(fileCaps, more), Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	r.Close()
	if err != nil {
		return fmt.Errorf("starting a process in a user namespace: %w", err)
	}
	if err = Write(context.Background(), newuidmap, newgidmap, cmd.Process.Pid, uids, gids); err == nil {
		_, err = w.Write([]byte{1})
	}
	w.Close() // without the byte, it is told that nothing becomes of it
	if waited := cmd.Wait(); err == nil {
		err = waited
	}
	return err
}

// Await waits until the ids of this process are mapped.
//
// Precondition: it was started by RunIn.
func Await() error {
	in := os.NewFile(goFD, "ids")
	defer in.Close()
	var b [1]byte
	if n, err := in.Read(b[:]); n != 1 {
		return errors.Join(errors.New("the ids of this process were not mapped"), err)
	}
	return nil
}
