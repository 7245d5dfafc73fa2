package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const secret = "the-secret-of-the-host"

// withKey runs a command in a session keyring that holds a key named args[0]
// itself and in the user keyring. KEY, USER and SESSION in the command become
// the serial numbers.
func withKey(args []string) {
	runtime.LockOSThread() // the session keyring is the thread's until it executes
	if _, err := unix.KeyctlJoinSessionKeyring("sbx-attack-session"); err != nil {
		fail("joining a keyring: %v", err)
	}
	add := func(ring int) int {
		id, err := unix.AddKey("user", args[0], []byte(secret), ring)
		if err != nil {
			fail("adding a key: %v", err)
		}
		return id
	}
	inUser := add(unix.KEY_SPEC_USER_KEYRING)
	key := add(unix.KEY_SPEC_SESSION_KEYRING)
	id := func(ring int) string {
		n, err := unix.KeyctlGetKeyringID(ring, false)
		if err != nil {
			fail("%v", err)
		}
		return strconv.Itoa(n)
	}
	r := strings.NewReplacer("KEY", strconv.Itoa(key), "USER", id(unix.KEY_SPEC_USER_KEYRING), "SESSION", id(unix.KEY_SPEC_SESSION_KEYRING))
	argv := make([]string, len(args)-1)
	for i, a := range args[1:] {
		if a == "KEY" || a == "USER" || a == "SESSION" {
			a = r.Replace(a)
		}
		argv[i] = a
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	_, _ = unix.KeyctlInt(unix.KEYCTL_UNLINK, inUser, unix.KEY_SPEC_USER_KEYRING, 0, 0)
	if err != nil && cmd.ProcessState == nil {
		fail("%v", err)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

func readKey(id int) error {
	var b [64]byte
	n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, b[:], len(b))
	if err != nil {
		return err
	}
	if got := string(b[:min(n, len(b))]); got != secret {
		return fmt.Errorf("read %q", got)
	}
	return nil
}

// keySearch looks for a key by name in the keyrings of this session.
func keySearch(args []string) {
	id, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", args[0], 0)
	if err == nil {
		err = readKey(id)
	}
	say(err)
}

// keyRead reads a key by number.
func keyRead(args []string) {
	id, _ := strconv.Atoi(args[0])
	say(readKey(id))
}

// keyLink links a keyring, by number, into the session's and searches there: a
// key in a keyring one possesses is possessed as well (keyrings(7)).
func keyLink(args []string) {
	id, _ := strconv.Atoi(args[0])
	// The first @s makes the session keyring this process's own where there
	// is none but the user's.
	if _, err := unix.KeyctlInt(unix.KEYCTL_LINK, id, unix.KEY_SPEC_SESSION_KEYRING, 0, 0); err != nil {
		say(err)
		return
	}
	keySearch(args[1:])
}
