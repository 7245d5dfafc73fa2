package access

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/run"
	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/sandbox/transfer"
)

// CpCommand is the verb cp.
func CpCommand() cli.Command {
	return cli.Command{
		Name: "cp", Args: "[FLAGS] NAME:PATH PATH|- | PATH|- NAME:PATH", Summary: "copy files between a running sandbox and the host",
		Long: "Copy a file or a directory out of a sandbox that runs, or into it. Where the target is a directory the copy is put in it; PATH/. copies a directory's contents. " +
			"With - for the host's path, a tar archive is read from standard input and unpacked in a directory, or written to standard output. " +
			"A path inside is looked up inside: no link leads out. The copy belongs to you, with the permissions of the original but set-user-ID and the like; sockets, FIFOs and devices are passed over. " +
			"What the sandbox may not write, sbx cp does not write either. A host's path with a colon needs a slash before it, as ./a:b.",
		Example: "sbx cp web:/tmp/report.html .\nsbx cp ./data web:/srv\nsbx cp - web:/tmp <project.tar",
		Words:   copyWords,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			follow := false
			cli.AddSwitch(fs, &follow, "follow-link", "L", cli.GroupProcess, "where the source is a symbolic link, copy what it leads to")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(2); err != nil {
					return err
				}
				if len(inv.Args) < 2 {
					return cli.Usagef("from where, and where to? usage: sbx %s", inv.Verb.Usage())
				}
				return cp(inv, inv.Args[0], inv.Args[1], follow)
			}
		},
	}
}

// copyWords are sandboxes and the host's files.
func copyWords(args []string) []cli.Candidate {
	if len(args) > 1 {
		return nil
	}
	list := []cli.Candidate{{Word: "@file", Doc: ""}}
	for _, c := range sandboxes.Names(nil) {
		list = append(list, cli.Candidate{Word: c.Word + ":/", Doc: c.Doc})
	}
	return list
}

// cutSandbox parts NAME:PATH. Whatever begins as a path of the host's, or has no
// colon, is one.
func cutSandbox(s string) (name, path string, inside bool) {
	name, path, inside = strings.Cut(s, ":")
	if !inside || name == "" || strings.ContainsAny(name, "/") || name[0] == '.' {
		return "", s, false
	}
	return name, path, true
}

func cp(inv *cli.Invocation, from, to string, follow bool) error {
	fromName, fromPath, out := cutSandbox(from)
	toName, toPath, in := cutSandbox(to)
	switch {
	case out && in:
		return cli.Usagef("both are of a sandbox: copy to the host first, or by way of a pipe: sbx cp %s - | sbx cp - %s", from, to)
	case !out && !in:
		return cli.Usagef("neither %q nor %q is of a sandbox, NAME:PATH", from, to)
	}
	name := fromName + toName
	root, r, err := rootOf(name)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	inside := transfer.Inside(root, r.Name)
	skip := func(path, what string) { inv.Warn("%s is %s: it is passed over", path, what) }
	if out {
		return copyFiles(inside, fromPath, transfer.Host(), toPath, follow, inv.Out, skip)
	}
	return copyFiles(transfer.Host(), fromPath, inside, toPath, follow, inv.Out, skip)
}

// copyFiles copies from one side to the other, of which the host's may be a
// standard stream.
func copyFiles(a transfer.Side, from string, b transfer.Side, to string, follow bool, out io.Writer, skip func(path, what string)) error {
	if from == "-" && a == transfer.Host() {
		if screen.IsTerminal(os.Stdin) {
			return cli.Usagef("standard input is a terminal, and a tar archive is to come from it")
		}
		t, err := b.Target(to, nil)
		if err != nil {
			return err
		}
		defer t.Close()
		return transfer.Unpack(os.Stdin, t, skip)
	}
	src, err := a.Source(from, follow)
	if err != nil {
		return err
	}
	defer src.Close()
	if to == "-" && b == transfer.Host() {
		if screen.IsTerminal(out) {
			return cli.Usagef("standard output is a terminal, and a tar archive would be written to it")
		}
		return transfer.Pack(out, src, src.Name(), skip)
	}
	t, err := b.Target(to, src)
	if err != nil {
		return err
	}
	defer t.Close()
	return transfer.Copy(src, t, skip)
}

// rootOf asks for the root directory of a sandbox.
func rootOf(name string) (int, *state.Record, error) {
	store, err := state.OpenExisting()
	if err != nil {
		return -1, nil, err
	}
	r, err := store.Find(name)
	if err != nil {
		return -1, nil, err
	}
	root, err := fetch(&r, control.Request{Op: control.Root})
	return root, &r, err
}

// fetch asks a sandbox for a descriptor of something inside.
func fetch(r *state.Record, q control.Request) (int, error) {
	c, err := sandboxes.Dial(r)
	if err != nil {
		return -1, err
	}
	defer c.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening sockets: %w", err)
	}
	defer unix.Close(pair[0])
	err = c.Ask(q, pair[1])
	unix.Close(pair[1])
	if err != nil {
		return -1, sandboxes.Closing(r, err)
	}
	if _, _, err := c.Answer(); err != nil {
		return -1, sandboxes.Closing(r, err)
	}
	return run.ReceiveOne(pair[0])
}
