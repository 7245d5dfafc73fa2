package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// alone gives the test a home, a working directory and a PATH of its own.
func alone(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, d := range []string{"home", "cwd", "bin"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, v := range map[string]string{
		"HOME": dir + "/home", "USER": "user", "PATH": dir + "/bin", "SHELL": "/bin/sh", "NO_COLOR": "1",
		"XDG_CONFIG_HOME": "", "XDG_DATA_HOME": "", "XDG_STATE_HOME": "", "XDG_CACHE_HOME": "", "XDG_RUNTIME_DIR": "",
	} {
		t.Setenv(name, v)
	}
	if err := os.WriteFile(dir+"/bin/ls", []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir + "/cwd")
	return dir
}

// files lists everything below dir, with the contents of files.
func files(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		b.WriteString(path + " " + d.Type().String() + "\n")
		if d.Type().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b.Write(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func call(args ...string) (code int, stdout, stderr string) {
	var out, errw bytes.Buffer
	code = sbx(args, &out, &errw)
	return code, out.String(), errw.String()
}

const builtins = "agent, build, go, make, node, open, python, rust, shell, strict"

// wrong are command lines that are refused, the message and the exit status.
// HOME stands for the home directory of the test, DIR for the one above.
var wrong = []struct {
	args []string
	code int
	want string
}{
	{nil, 2, "which verb? try sbx help"},
	{[]string{"frobnicate"}, 2, "no such verb: frobnicate; try sbx help, or sbx run -- frobnicate"},
	{[]string{"rum"}, 2, "no such verb: rum (did you mean run?); try sbx help"},
	{[]string{"--memory", "1G"}, 2, "no such flag: --memory; flags follow the verb, as in sbx run --memory"},
	{[]string{"profile"}, 2, "sbx profile what? one of ls, show, init, check, schema"},
	{[]string{"profile", "shw"}, 2, "no such verb: profile shw (did you mean show?); one of ls, show, init, check, schema"},

	// Flags of run: 125, as podman's.
	{[]string{"run", "--memroy", "1G"}, 125, "no flag --memroy (did you mean --memory?); sbx help run lists them"},
	{[]string{"run", "--zzz"}, 125, "no flag --zzz; sbx help run lists them"},
	{[]string{"run", "-X"}, 125, "no flag -X; sbx help run lists them"},
	{[]string{"run", "-it", "--", "true"}, 125, "no flag -i in -it: standard input is always passed on, leave it out"},
	{[]string{"run", "--rm", "--", "true"}, 125, "no flag --rm: nothing is kept after a run, leave it out"},
	{[]string{"run", "-p", "80:80", "--", "true"}, 125, `no flag -p: the network is "none" or the host's, there are no ports to publish`},
	{[]string{"run", "--untrusted-ok", "--", "true"}, 125, "no flag --untrusted-ok; sbx help run lists them"},
	{[]string{"run", "--memory"}, 125, "--memory: needs a value, as in --memory=SIZE"},
	{[]string{"run", "-m"}, 125, "--memory: needs a value, as in --memory=SIZE"},
	{[]string{"run", "--quiet=yes", "--", "true"}, 125, "--quiet: takes no value"},
	{[]string{"run", "--memory", "4x", "--", "true"}, 125, `--memory: "4x" is not a size, use bytes or a unit such as "64M" or "1G"`},
	{[]string{"run", "-m", "-1G", "--", "true"}, 125, `--memory: "-1G" is not a size, use bytes or a unit such as "64M" or "1G"`},
	{[]string{"run", "--pids-limit", "many", "--", "true"}, 125, `--pids-limit: "many" is not an integer`},
	{[]string{"run", "--timeout", "soon", "--", "true"}, 125, `--timeout: "soon" is not a duration, use a number with a unit such as "10s" or "1h30m"`},
	{[]string{"run", "--network", "bridge", "--", "true"}, 125, `--network: unknown value "bridge", use "none" or "host"`},
	{[]string{"run", "--net=hots", "--", "true"}, 125, `--network: unknown value "hots", use "none" or "host" (did you mean "host"?)`},
	{[]string{"run", "-u", "0", "--", "true"}, 125, `--user: unknown value "0", use "keep" or "root"`},
	{[]string{"run", "--tty=maybe", "--", "true"}, 125, `--tty: unknown value "maybe", use "auto", "always" or "never"`},
	{[]string{"run", "--userns", "host", "--", "true"}, 125, `--userns: unknown value "host", use "auto", "single", "range" or "explicit"`},
	{[]string{"run", "--uidmap", "0:1000:1", "--", "true"}, 125, "--uidmap: needs user.gid_map as well"},
	{[]string{"run", "--uidmap", "zero", "--", "true"}, 125, `--uidmap: "zero" is not an id map, write "inside:outside:count" as in "0:100000:65536"`},
	{[]string{"run", "--home", "away", "--", "true"}, 125, `--home: unknown value "away", use "tmpfs", "persistent", "host" or "none"`},
	{[]string{"run", "--hostname", "a b", "--", "true"}, 125, `--hostname: "a b" is not a host name, use up to 64 letters, digits, "-" and "."`},
	{[]string{"run", "--name", "../x", "--", "true"}, 125, `--name: "../x" is not a name, use up to 64 letters, digits, ".", "_" and "-", beginning with a letter or digit`},
	{[]string{"run", "--require", "No Such", "--", "true"}, 125, `--require: "No Such" is not a feature's name, see sbx doctor for the names`},
	{[]string{"run", "-e", "=x", "--", "true"}, 125, `--env: "=x" has no name, write NAME=VALUE, or NAME to pass the caller's`},
	{[]string{"run", "-e", "A B=x", "--", "true"}, 125, `--env: "A B": a name has no spaces`},
	{[]string{"run", "--env-file", "none.env", "--", "true"}, 125, "--env-file: open none.env: no such file or directory"},
	{[]string{"run", "--set", "limits.memory", "--", "true"}, 125, `--set: "limits.memory" is not KEY=VALUE, write for example limits.memory=2G`},
	{[]string{"run", "--set", "limits.memroy=1G", "--", "true"}, 125, `--set: limits.memroy: unknown key (did you mean "memory"?)`},
	{[]string{"run", "--set", "root.read_only=no", "--", "true"}, 125, `--set: root.read_only: must be true or false, not "no"`},
	{[]string{"run", "--ulimit", "nofile", "--", "true"}, 125, `--ulimit: "nofile" is not NAME=N, write for example nofile=1024`},
	{[]string{"run", "--ulimit", "nofiles=1", "--", "true"}, 125, `--ulimit: no limit "nofiles" (did you mean nofile?), use nofile, fsize, core, cpu, stack, memlock`},
	{[]string{"run", "--ulimit", "nproc=5", "--", "true"}, 125, "--ulimit: for the number of processes use --pids-limit"},
	{[]string{"run", "--ulimit", "nofile=1:2", "--", "true"}, 125, "--ulimit: nofile: soft and hard limits can't differ, write nofile=2"},
	{[]string{"run", "-v", "data:/data", "--", "true"}, 125, `--volume: "data" is not a path; there are no named volumes, write ./data`},
	{[]string{"run", "-v", ":/data", "--", "true"}, 125, `--volume: ":/data" has no source, write SRC[:DST][:ro|rw]`},
	{[]string{"run", "-v", "/usr:/data:z", "--", "true"}, 125, `--volume: unknown option "z", use ro, rw, noexec or optional`},
	{[]string{"run", "-v", "/a:/b:/c:rw", "--", "true"}, 125, `--volume: "/a:/b:/c:rw" has too many colons; for a path with one use --mount`},
	{[]string{"run", "-v", "/usr:/", "--", "true"}, 125, `--volume: target is "/", set root.source instead`},
	{[]string{"run", "-v", "/usr:/proc/x", "--", "true"}, 125, `--volume: target is under /proc, where only type = "mask" may be`},
	{[]string{"run", "--tmpfs", "scratch", "--", "true"}, 125, `--tmpfs: target "scratch" is not absolute, begin it with "/"`},
	{[]string{"run", "--tmpfs", "/scratch:huge", "--", "true"}, 125, `--tmpfs: unknown option "huge", use size=, mode=, nr_inodes=, ro, rw, exec or noexec`},
	{[]string{"run", "--tmpfs", "/scratch:size=x", "--", "true"}, 125, `--tmpfs: size: "x" is not a size, use bytes or a unit such as "64M" or "1G"`},
	{[]string{"run", "--mount", "type=bind,target=/x", "--", "true"}, 125, "--mount: type=bind needs a source, add source=PATH"},
	{[]string{"run", "--mount", "type=tmpfs", "--", "true"}, 125, "--mount: no target, add target=/PATH"},
	{[]string{"run", "--mount", "type=volume,target=/x", "--", "true"}, 125, `--mount: type: unknown value "volume", use "bind", "tmpfs", "file", "symlink", "mask" or "none"`},
	{[]string{"run", "--mount", "type=tmpfs,target=/x,sise=1", "--", "true"}, 125, `--mount: unknown word "sise" (did you mean size?), use type=, source=, target=, ro, rw, noexec, dev, optional, content=, mode=, size= or inodes=`},
	{[]string{"run", "--mount", "type=tmpfs,target=/x,source=/y", "--", "true"}, 125, `--mount: source: has no effect with type = "tmpfs", remove it or set type = "bind" or "symlink"`},

	// What follows the flags.
	{[]string{"run", "ls"}, 125, `no profile "ls"; looked in HOME/.config/sbx/profiles, /etc/sbx/profiles, the built-in profiles ` + builtins + "; to run the command ls: sbx run -- ls"},
	{[]string{"run", "buidl", "true"}, 125, `no profile "buidl" (did you mean "build"?); looked in HOME/.config/sbx/profiles, /etc/sbx/profiles, the built-in profiles ` + builtins},
	{[]string{"run", "builtin:none", "true"}, 125, `no profile "builtin:none" (did you mean "builtin:node"?); looked in the built-in profiles ` + builtins},
	{[]string{"run", "none.toml", "true"}, 125, "reading profile DIR/cwd/none.toml: no such file or directory"},
	{[]string{"run", "", "true"}, 125, "the profile's name is empty; leave it out for the default, as in sbx run -- COMMAND"},
	{[]string{"run", "build", "--memory", "1G", "true"}, 125, "--memory stands after the profile build, where the command begins; flags stand before it, and a command that begins with a dash after --"},
	{[]string{"shell", "build", "make"}, 125, "shell takes no command; use sbx run PROFILE -- COMMAND"},
	{[]string{"explain", "build", "make"}, 2, `"make" is one argument too many; a command stands after --, as in sbx explain build -- make`},

	// The other verbs.
	{[]string{"explain", "--memory", "4x"}, 125, `--memory: "4x" is not a size, use bytes or a unit such as "64M" or "1G"`},
	{[]string{"doctor", "--jsn"}, 2, "no flag --jsn (did you mean --json?); sbx help doctor lists them"},
	{[]string{"doctor", "now"}, 2, `"now" is one argument too many; usage: sbx doctor [FLAGS]`},
	{[]string{"profile", "ls", "--format", "yaml"}, 2, `--format: unknown value "yaml", use text or json`},
	{[]string{"profile", "init", "golang"}, 2, `no built-in profile "golang", use one of ` + builtins},
	{[]string{"profile", "schema", "x"}, 2, `"x" is one argument too many; usage: sbx profile schema`},
	{[]string{"trust"}, 2, "there is no .sbx.toml here or above; name a file"},
	{[]string{"trust", "--list", "x"}, 2, "--list takes no file and no other flag"},
	{[]string{"trust", "none.toml"}, 125, "reading profile DIR/cwd/none.toml: no such file or directory"},
	{[]string{"untrust", "none.toml"}, 125, "DIR/cwd/none.toml was not trusted"},
	{[]string{"completion"}, 2, "completion for which shell? bash, zsh or fish"},
	{[]string{"completion", "tcsh"}, 2, `no completion for "tcsh" (did you mean bash?), use bash, zsh or fish`},
	{[]string{"version", "x"}, 2, `"x" is one argument too many; usage: sbx version [FLAGS]`},
	{[]string{"help", "rum"}, 2, "no such verb: rum (did you mean run?); try sbx help"},
	{[]string{"help", "run", "x"}, 2, `"x" is one argument too many; usage: sbx help [VERB]`},
}

// TestWrong: a wrong command line has its own message, and nothing is made.
func TestWrong(t *testing.T) {
	dir := alone(t)
	before := files(t, dir)
	for _, tt := range wrong {
		code, stdout, stderr := call(tt.args...)
		want := "sbx: " + strings.NewReplacer("HOME", dir+"/home", "DIR/cwd/", "", "DIR", dir).Replace(tt.want) + "\n"
		if tt.args != nil && strings.Contains(tt.want, "reading profile DIR") {
			want = "sbx: " + strings.ReplaceAll(tt.want, "DIR", dir) + "\n"
		}
		if code != tt.code || stderr != want || stdout != "" {
			t.Errorf("sbx %q: status %d, want %d\n  got %s  want %s  stdout %q", tt.args, code, tt.code, stderr, want, stdout)
		}
	}
	if after := files(t, dir); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
