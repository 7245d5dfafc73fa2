// Package sbxtest is what tests against the real kernel need: a skip for what
// the host can't do, the built sbx, and the proof that nothing was left behind.
package sbxtest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/sbx-sandbox/sbx/test"
)

// Feature is something a host may lack. Whether it does is found out by doing
// it, never from a version or a distribution's name.
type Feature struct {
	Name  string
	probe func() error // nil when the host has it
}

// The features. Each is tried once in a process.
var (
	UserNS   = Feature{"userns", sync.OnceValue(probeUserNS)}     // an unprivileged user namespace with capabilities in it
	Subuid   = Feature{"subuid", sync.OnceValue(probeSubuid)}     // a range of ids, mapped by newuidmap and newgidmap
	Overlay  = Feature{"overlay", sync.OnceValue(probeOverlay)}   // overlayfs mounted in a user namespace
	FUSE     = Feature{"fuse", sync.OnceValue(probeFUSE)}         // /dev/fuse opens
	Tun      = Feature{"tun", sync.OnceValue(probeTun)}           // /dev/net/tun opens
	Pasta    = Feature{"pasta", sync.OnceValue(probePasta)}       // pasta starts a command in a network of its own
	TTY      = Feature{"tty", sync.OnceValue(probeTTY)}           // a pseudo-terminal
	Landlock = Feature{"landlock", sync.OnceValue(probeLandlock)} // Landlock with scopes
	Scope    = Feature{"scope", sync.OnceValue(probeScope)}       // the user's systemd makes a scope whose limits hold
	Root     = Feature{"root", sync.OnceValue(probeRoot)}         // the test runs as root
)

// Features are the features above by their names.
func Features() []Feature {
	return []Feature{UserNS, Subuid, Overlay, FUSE, Tun, Pasta, TTY, Landlock, Scope, Root}
}

// Tool is the feature of having a program installed.
func Tool(name string) Feature {
	return Feature{name, func() error {
		_, err := find(name)
		return err
	}}
}

// Given is the feature of being told something by a variable of the environment.
func Given(name, variable string) Feature {
	return Feature{name, func() error {
		if os.Getenv(variable) == "" {
			return errors.New(variable + " is not set")
		}
		return nil
	}}
}

// Missing is nil when the host has the feature, else what was observed. The
// error is the reason of a skip, in the form of test/allowed-skips.txt.
func (f Feature) Missing() error {
	if f.Name == "subuid" && os.Getenv("SBX_TEST_NO_SUBUID") == "1" {
		return errors.New("needs subuid: the account of this pass has none")
	}
	if err := f.probe(); err != nil {
		return fmt.Errorf("needs %s: %s", f.Name, oneLine(err))
	}
	return nil
}

// oneLine keeps a helper's words in one line, as a reason has to be.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// Require skips the test unless the host has every one of the features. With
// SBX_MUST_WORK=1 it fails instead, unless test/allowed-skips.txt lists it.
func Require(t testing.TB, features ...Feature) {
	t.Helper()
	for _, f := range features {
		err := f.Missing()
		if err == nil {
			continue
		}
		if test.MustWork() && !test.Allowed(err.Error()) {
			t.Fatalf("%v; SBX_MUST_WORK=1 and %s does not allow it", err, test.AllowedFile)
		}
		t.Skip(err.Error())
	}
}

// Condition is the condition of a test script by the feature's name. Where
// everything has to work, a feature that is missing and not allowed to be is
// an error, so that a script can't step over it in silence.
func Condition(name string) (bool, error) {
	for _, f := range Features() {
		if f.Name != name {
			continue
		}
		err := f.Missing()
		if err != nil && test.MustWork() && !test.Allowed(err.Error()) {
			return false, fmt.Errorf("%w; SBX_MUST_WORK=1 and %s does not allow it", err, test.AllowedFile)
		}
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// Missing is a feature that the test itself found to be missing, and why.
func Missing(name, why string) Feature {
	return Feature{name, func() error { return errors.New(why) }}
}
