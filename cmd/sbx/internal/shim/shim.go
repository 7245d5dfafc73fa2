// Package shim is the form of a shim's file: what stands for a program in a
// directory of PATH and has sbx run it in a sandbox.
package shim

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// Shim is what a file says. Its first line makes sbx its interpreter and is a
// comment to TOML, the rest is this.
type Shim struct {
	Command string   `toml:"command"` // the program's name
	Profile string   `toml:"profile"` // where the project has none of its own
	Flags   []string `toml:"flags"`   // of sbx run
	// Network are more flags, for the profile's phases that have a network.
	Network []string `toml:"network"`
	// Phases says in which of the profile's phases a call runs, by its first
	// argument that is no flag; AnyVerb stands for all that are not named, and "all"
	// is every phase in order. Without, it is the profile's own sandbox.
	Phases map[string]string `toml:"phases"`
}

// AnyVerb is the verb that stands for every other.
const AnyVerb = "*"

// NoVerb stands for a call without any argument.
const NoVerb = "-"

// Phase is the phase in which a call with args runs, "" for the profile's own
// sandbox.
func (s *Shim) Phase(args []string) string {
	if phase, ok := s.Phases[NoVerb]; ok && len(args) == 0 {
		return phase
	}
	for _, a := range args {
		if a == "" || a[0] == '-' || a[0] == '+' {
			continue // of a flag's own word nothing is known: it counts as the verb
		}
		if phase, ok := s.Phases[a]; ok {
			return phase
		}
		break
	}
	return s.Phases[AnyVerb]
}

// Bypass is the variable that, when it is "off", has a shim run the program as
// it is.
const Bypass = "SBX_WRAP"

// maxSize is the size of the largest shim that is read, in bytes.
const maxSize = 64 << 10

// Read reads a file that sbx wrap install has made, and perhaps a person
// has changed. That it was read is remembered in log, which may be nil.
func Read(log *seen.Log, file string) (Shim, error) {
	fd, err := log.Open(file, unix.O_RDONLY)
	if err != nil {
		return Shim{}, &os.PathError{Op: "open", Path: file, Err: err}
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	switch {
	case err != nil:
		return Shim{}, err
	case len(text) > maxSize:
		return Shim{}, fmt.Errorf("%s is no shim: it is longer than %d bytes", file, maxSize)
	}
	var s Shim
	meta, err := toml.Decode(string(text), &s)
	if err != nil {
		return Shim{}, fmt.Errorf("%s: %w; sbx wrap install writes it anew", file, err)
	}
	if left := meta.Undecoded(); len(left) > 0 {
		return Shim{}, fmt.Errorf("%s: unknown key %q, a shim has command, profile, flags, network and phases", file, left[0].String())
	}
	if err := CheckProgram(s.Command); err != nil {
		return Shim{}, fmt.Errorf("%s: command: %w", file, err)
	}
	return s, nil
}

// maxInterpreter is the longest first line of a script that the kernel takes
// whole (BINPRM_BUF_SIZE, execve(2)).
const maxInterpreter = 255

// Text is the file of s, with the sbx at the absolute path as its interpreter.
func (s Shim) Text(sbx string) (string, error) {
	first := "#!" + sbx + " shim"
	if len(first) > maxInterpreter || strings.ContainsAny(sbx, " \t\n") {
		return "", fmt.Errorf("%s can't be the interpreter of a script, since its path has spaces or is too long; install sbx somewhere else", sbx)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n# %s in a sandbox; made by sbx wrap install. %s=off %s ... runs it without.\n", first, s.Command, Bypass, s.Command)
	fmt.Fprintf(&b, "command = %s\nprofile = %s\nflags = %s\n", quoted(s.Command), quoted(s.Profile), list(s.Flags))
	if len(s.Network) > 0 {
		fmt.Fprintf(&b, "network = %s\n", list(s.Network))
	}
	if len(s.Phases) > 0 {
		b.WriteString("[phases]\n")
		for _, verb := range slices.Sorted(maps.Keys(s.Phases)) {
			fmt.Fprintf(&b, "%s = %s\n", quoted(verb), quoted(s.Phases[verb]))
		}
	}
	return b.String(), nil
}

// list is a list of strings of TOML.
func list(words []string) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = quoted(w)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// CheckProgram refuses what is no name of a program.
func CheckProgram(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q is no name of a program", name)
	case strings.ContainsAny(name, "/\x00\n") || name[0] == '-':
		return fmt.Errorf("%q is no name of a program; give the name alone, without a directory", name)
	case name == "sbx" || name == "sbx-sh":
		return errors.New("sbx itself can't be wrapped")
	}
	return nil
}

// quoted is s as a basic string of TOML.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}
