//go:build !cgo

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/userns"
)

// stage tells the processes of one call apart: unset in the one that sbx
// started, "wait" until the ids are mapped, then the maps as JSON.
const stage = "SBX_STORE_STAGE"

// enterNamespace makes a user and a mount namespace in which the caller is root
// and has its subordinate ids, if there are any, and starts this program in it.
//
// It returns the maps in the process that is in the namespace. In the outer one
// it returns no maps but the inner one's exit status, once that has ended.
func enterNamespace() (*image.IDs, int, error) {
	switch text := os.Getenv(stage); text {
	case "":
		code, err := startInside()
		return nil, code, err
	case "wait":
		return nil, 1, wait()
	default:
		var ids image.IDs
		if err := json.Unmarshal([]byte(text), &ids); err != nil {
			return nil, 1, fmt.Errorf("%s is for sbx-store itself: %w", stage, err)
		}
		if os.Getuid() != 0 {
			return nil, 1, errors.New("sbx-store is not root of its user namespace")
		}
		if err := dieWith(os.Getenv(stage + "_PARENT")); err != nil {
			return nil, 1, err
		}
		// Children are told by these, and not by a C library's start-up code.
		return &ids, 0, os.Unsetenv(stage)
	}
}

// startInside starts this program in the namespaces and maps its ids.
func startInside() (int, error) {
	ids, newuidmap, newgidmap, why := maps()
	code, err := startWith(ids, newuidmap, newgidmap, why)
	var refused *mapError
	if ids.Mode == "range" && errors.As(err, &refused) { // in a sandbox of another kind, say
		fmt.Fprintf(os.Stderr, "sbx-store: your subordinate ids can't be had (%v): all files of images belong to you\n", refused.err)
		return startWith(single(), "", "", err)
	}
	return code, err
}

// mapError is that the ids could not be mapped; nothing was done yet.
type mapError struct{ err error }

func (e *mapError) Error() string { return "mapping ids: " + e.err.Error() }
func (e *mapError) Unwrap() error { return e.err }

func startWith(ids image.IDs, newuidmap, newgidmap string, why error) (int, error) {
	text, err := json.Marshal(ids)
	if err != nil {
		return 1, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	defer r.Close()
	defer w.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{r}
	cmd.Env = []string{
		stage + "=wait", stage + "_NEXT=" + string(text),
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + os.Getenv("HOME"), "TMPDIR=/tmp",
		// What containers/storage takes for the answers of its own start-up code.
		"_CONTAINERS_USERNS_CONFIGURED=done", fmt.Sprintf("_CONTAINERS_ROOTLESS_UID=%d", os.Getuid()), fmt.Sprintf("_CONTAINERS_ROOTLESS_GID=%d", os.Getgid()),
	}
	for _, name := range passed {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("making a user namespace: %w; see sbx doctor", err)
	}
	if ids.Mode == "range" {
		err = userns.Write(context.Background(), newuidmap, newgidmap, cmd.Process.Pid, ids.UIDs, ids.GIDs)
	} else {
		err = mapSelf(cmd.Process.Pid, ids)
	}
	if err == nil {
		_, err = w.Write([]byte{1})
	}
	if err != nil {
		w.Close() // the child ends without its byte
		_ = cmd.Wait()
		return 1, &mapError{errors.Join(err, why)}
	}
	err = cmd.Wait()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended) && ended.Exited():
		return ended.ExitCode(), nil
	case err != nil:
		return 1, fmt.Errorf("sbx-store ended before it was done: %w", err)
	}
	return 0, nil
}

// passed are the caller's variables that pulling goes by: where a registry's
// credentials are and by which proxy it is reached.
var passed = []string{
	"DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

// maps are those of this caller. why is the reason that there is one id only.
func maps() (ids image.IDs, newuidmap, newgidmap string, why error) {
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	name := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	newuidmap, err := userns.FindHelper("newuidmap")
	newgidmap, err2 := userns.FindHelper("newgidmap")
	subuids, err3 := largest("/etc/subuid", name, uid)
	subgids, err4 := largest("/etc/subgid", name, uid)
	if why := errors.Join(err, err2, err3, err4); why != nil {
		return single(), "", "", why
	}
	ids = image.IDs{Mode: "range", UIDs: userns.Root(uid, subuids), GIDs: userns.Root(gid, subgids)}
	if why := errors.Join(ids.UIDs.Validate(), ids.GIDs.Validate()); why != nil {
		return single(), "", "", why
	}
	return ids, newuidmap, newgidmap, nil
}

// single is the caller's own id as root and no other.
func single() image.IDs {
	return image.IDs{Mode: "single", UIDs: userns.Self(0, uint32(os.Getuid())), GIDs: userns.Self(0, uint32(os.Getgid()))}
}

func largest(file, name string, uid uint32) (userns.Range, error) {
	grants, err := userns.Grants(file, name, uid)
	if err != nil {
		return userns.Range{}, err
	}
	r, ok := userns.Largest(grants)
	if !ok {
		return r, fmt.Errorf("%s has no line for %s", file, name)
	}
	return r, nil
}

// mapSelf maps the caller's own id, which needs nobody's leave.
func mapSelf(pid int, ids image.IDs) error {
	for _, f := range []struct{ name, text string }{
		{"setgroups", "deny"}, {"uid_map", ids.UIDs.String()}, {"gid_map", ids.GIDs.String()},
	} {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, f.name), []byte(f.text), 0); err != nil {
			return err
		}
	}
	return nil
}

// wait waits until the ids are mapped and starts this program once more: its
// capabilities went with the first execve(2), before root was anybody
// (user_namespaces(7), "Capabilities").
func wait() error {
	gate := os.NewFile(3, "gate")
	one := make([]byte, 1)
	if n, _ := gate.Read(one); n != 1 {
		return errors.New("the ids were not mapped")
	}
	if err := gate.Close(); err != nil {
		return err
	}
	if err := os.Setenv(stage, os.Getenv(stage+"_NEXT")); err != nil {
		return err
	}
	if err := os.Unsetenv(stage + "_NEXT"); err != nil {
		return err
	}
	if err := os.Setenv(stage+"_PARENT", strconv.Itoa(os.Getppid())); err != nil {
		return err
	}
	return fmt.Errorf("starting in the user namespace: %w", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

// dieWith has this process end with its parent, whose id is given. The signal goes
// with a gain of capabilities, as by the last execve(2), so it is asked for here
// (PR_SET_PDEATHSIG(2const)).
func dieWith(parent string) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if parent != "" && parent != strconv.Itoa(os.Getppid()) { // it ended before that
		return errors.New("the sbx-store that started this one is gone")
	}
	return nil
}
