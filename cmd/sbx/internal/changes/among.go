package changes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/overlay/upper"
	"github.com/sbx-sandbox/sbx/userns"
)

// Denied reports whether files of the layers can't be read by their owner as they
// are: they have modes that keep everybody out, or belong to subordinate ids.
func (ls *Layers) Denied() bool {
	if ls.stacked {
		return true
	}
	for i := range ls.List {
		if ls.List[i].List.Denied() {
			return true
		}
	}
	return false
}

// AmongVerb is the verb by which sbx runs another verb of its own once more, in a
// user namespace in which it may read all that belongs to an overlay's ids, and
// stack an image's layers for itself.
const AmongVerb = "__among"

// WithIDs does a command line of sbx's own that way. In the namespace the person
// has the same id; its only right is to read, unless the overlay has a range of
// ids.
func WithIDs(inv *cli.Invocation, r *upper.Record, words []string) error {
	runtime.LockOSThread() // the death signal is this thread's, PR_SET_PDEATHSIG(2const)
	defer runtime.UnlockOSThread()
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGINT, unix.SIGTERM, unix.SIGHUP) // the other one gets them, too
	defer signal.Stop(caught)
	cmd := userns.Command(context.Background(), append([]string{AmongVerb, r.IDs.Mode}, words...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, inv.Out, inv.Err
	var err error
	var caps []uintptr
	if slices.ContainsFunc(r.Layers, func(l upper.Layer) bool { return l.Image != "" }) {
		caps = []uintptr{unix.CAP_SYS_ADMIN} // to mount its layers
	}
	if r.IDs.Mode == "range" {
		err = userns.RunIn(cmd, r.IDs.UIDs, r.IDs.GIDs, caps...)
	} else {
		userns.Inherited()
		uid, gid := os.Geteuid(), os.Getegid()
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
			AmbientCaps: append(caps, unix.CAP_DAC_READ_SEARCH),
			Pdeathsig:   syscall.SIGKILL,
		}
		err = cmd.Run()
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		inv.Status = exit.ExitCode()
		return nil
	case err != nil:
		return fmt.Errorf("reading the overlay %s, which has files that you may not read, in a user namespace: %w", r.Name, err)
	}
	inv.Status = 0
	return nil
}
