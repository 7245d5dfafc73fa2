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

const builtins = "agent, build, go, make, node, open, pnpm, python, rust, shell, strict, yarn"

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
	{[]string{"login"}, 2, "no such verb: login; what podman login keeps is used by sbx image pull"},
	{[]string{"push", "web"}, 2, "no such verb: push; other tools find images and spread them; sbx image export writes one for them"},
	{[]string{"images"}, 2, "no such verb: images; use sbx image ls"},
	{[]string{"create", "web"}, 2, "no such verb: create; there is no sandbox that does not run; sbx run -d starts one"},
	{[]string{"run", "--stop-signal", "nothing", "--", "true"}, 125, `--stop-signal: unknown signal "nothing", use a name such as "SIGTERM"`},
	{[]string{"run", "--stop-signal", "0", "--", "true"}, 125, `--stop-signal: unknown signal "0", use a name such as "SIGTERM"`},
	{[]string{"--memory", "1G"}, 2, "no such flag: --memory; flags follow the verb, as in sbx run --memory"},
	{[]string{"profile"}, 2, "sbx profile what? one of ls, show, init, check, schema"},
	{[]string{"profile", "shw"}, 2, "no such verb: profile shw (did you mean show?); one of ls, show, init, check, schema"},

	// Flags of run: 125, as podman's.
	{[]string{"run", "--memroy", "1G"}, 125, "no flag --memroy (did you mean --memory?); sbx help run lists them"},
	{[]string{"run", "--zzz"}, 125, "no flag --zzz; sbx help run lists them"},
	{[]string{"run", "-X"}, 125, "no flag -X; sbx help run lists them"},
	{[]string{"run", "-P", "--", "true"}, 125, "no flag -P: name the ports with --publish"},
	{[]string{"run", "-p", "80:80:80:80:80", "--", "true"}, 125, `--publish: publish "80:80:80:80:80": there is a colon too many; an IPv6 address stands in brackets`},
	{[]string{"run", "-p", "localhost:80:80", "--", "true"}, 125, `--publish: publish "localhost:80:80": "localhost" is no address of the host; write one in numbers, IPv6 in brackets`},
	{[]string{"run", "--allow", "https://example.org/page", "--", "true"}, 125, `--allow: rule "https://example.org/page": a rule names a machine, not a page on it: write "example.org"`},
	{[]string{"run", "--deny", "a b", "--", "true"}, 125, `--deny: rule "a b": there is a space or a control character in it, at byte 1; a port stands after a colon, as in example.org:443, and each rule by itself`},
	{[]string{"run", "--network=host", "--allow", "example.org", "--", "true"}, 125, `--allow: has no effect with network.mode = "host", remove it or set network.mode = "user" or "network:NAME"`},
	{[]string{"run", "--network=none", "-p", "80", "--", "true"}, 125, `--publish: has no effect with network.mode = "none", remove it or set network.mode = "user" or "network:NAME"`},
	{[]string{"run", "--add-host", "db", "--", "true"}, 125, `--add-host: host "db": write NAME:ADDRESS, as in db:192.0.2.7`},
	{[]string{"run", "--dns", "none", "--", "true"}, 125, `--dns: name server "none": write an address in numbers, with a port as 192.0.2.1:5353 or [2001:db8::1]:5353`},
	{[]string{"run", "--restart=always", "--", "true"}, 125, "--restart needs --detach: in the foreground, use a loop of your shell"},
	{[]string{"run", "-d", "--rm", "--restart=always", "--", "true"}, 125, "--restart and --rm exclude each other: a sandbox that is started again is not forgotten"},
	{[]string{"run", "--restart=sometimes", "--", "true"}, 125, "--restart: no policy \"sometimes\", use no, on-failure, on-failure:N, always or unless-stopped"},
	{[]string{"run", "--restart=on-failure:0", "--", "true"}, 125, "--restart: \"0\" is not how many times, from 1 on"},
	{[]string{"run", "--label==x", "--", "true"}, 125, "--label: \"=x\" has no name, write NAME=VALUE"},
	{[]string{"run", "--log-max=1", "--", "true"}, 125, "--log-max: 1 is less than 64K, which a few lines need"},
	{[]string{"run", "--log-max=much", "--", "true"}, 125, "--log-max: \"much\" is not a size, use bytes or a unit such as \"64M\" or \"1G\""},
	{[]string{"run", "--json-status-fd=1", "--", "true"}, 125, "--json-status-fd: \"1\" is no descriptor from 3 on"},
	{[]string{"run", "--json-status-fd=999", "--", "true"}, 125, "--json-status-fd: descriptor 999: bad file descriptor; open it for sbx, as in 999>FILE"},
	{[]string{"run", "--rm=perhaps", "--", "true"}, 125, "--rm: \"perhaps\" is neither true nor false"},
	{[]string{"exec"}, 125, "which sandbox, and what command? usage: sbx exec [FLAGS] [NAME] [--] COMMAND [ARG...]"},
	{[]string{"exec", "none", "true"}, 125, "no sandbox is called none; sbx ps -a lists them"},
	{[]string{"exec", "--tty=perhaps", "none", "true"}, 125, "--tty: unknown value \"perhaps\", use auto, always or never"},
	{[]string{"ps", "x"}, 2, "\"x\" is one argument too many; usage: sbx ps [FLAGS]"},
	{[]string{"ps", "-q", "--format=json"}, 2, "--quiet and --format exclude each other"},
	{[]string{"ps", "--format=name"}, 2, "--format: \"name\" is neither json nor a template such as '{{.ID}} {{.Name}}'"},
	{[]string{"ps", "--format={{range .}}"}, 2, "--format: {{range .}} can't be understood; a template has fields, {{.Name}}, {{.State.ExitCode}}, and {{json .Labels}}"},
	{[]string{"ps", "--format={{.Name"}, 2, "--format: a template's {{ has no }}"},
	{[]string{"ps", "--last=3x"}, 2, "--last: \"3x\" is not a number"},
	{[]string{"ps", "--filter=web"}, 2, "--filter: \"web\" is not KEY=VALUE, write for example name=web"},
	{[]string{"ps", "--filter=status=up"}, 2, "--filter: no status \"up\", use starting, running, paused, exited"},
	{[]string{"ps", "--filter=nam=x"}, 2, "--filter: no filter \"nam\" (did you mean name?), use name, id, status, exited, health, profile, network, label"},
	{[]string{"stop"}, 2, "which sandbox? usage: sbx stop [FLAGS] NAME..."},
	{[]string{"stop", "none"}, 125, "no sandbox is called none; sbx ps -a lists them"},
	{[]string{"stop", "-t", "soon", "none"}, 2, "--time: \"soon\" is no time, write seconds, or 500ms, 2m"},
	{[]string{"stop", "-t", "18446744074", "none"}, 2, "--time: \"18446744074\" is no time, write seconds, or 500ms, 2m"},
	{[]string{"stop", "--all", "none"}, 2, "--all and \"none\" exclude each other"},
	{[]string{"kill", "-s", "NOPE", "none"}, 2, "--signal: no signal is called \"NOPE\""},
	{[]string{"kill", "-s", "65", "none"}, 2, "--signal: no signal has the number 65"},
	{[]string{"rename", "none"}, 2, "usage: sbx rename NAME NEW"},
	{[]string{"logs"}, 2, "which sandbox? usage: sbx logs [FLAGS] NAME"},
	{[]string{"logs", "--tail=few", "none"}, 2, "--tail: \"few\" is neither a number nor all"},
	{[]string{"logs", "--since=yore", "none"}, 2, "--since: \"yore\" is no time, write 5m, or 2026-01-02T15:04:05Z"},
	{[]string{"run", "--untrusted-ok", "--", "true"}, 125, "no flag --untrusted-ok; sbx help run lists them"},
	{[]string{"run", "--memory"}, 125, "--memory: needs a value, as in --memory=SIZE"},
	{[]string{"run", "-m"}, 125, "--memory: needs a value, as in --memory=SIZE"},
	{[]string{"run", "--quiet=yes", "--", "true"}, 125, "--quiet: takes no value"},
	{[]string{"run", "--memory", "4x", "--", "true"}, 125, `--memory: "4x" is not a size, use bytes or a unit such as "64M" or "1G"`},
	{[]string{"run", "-m", "-1G", "--", "true"}, 125, `--memory: "-1G" is not a size, use bytes or a unit such as "64M" or "1G"`},
	{[]string{"run", "--memory", "512", "--", "true"}, 125, `--memory: no program can be started in 512 bytes; write a unit, as in "512M"`},
	{[]string{"run", "--pids-limit", "1", "--", "true"}, 125, "--pids-limit: PID 1 of the sandbox is the one process, and no command could be started; use 2 or more"},
	{[]string{"run", "--timeout", "-1", "--", "true"}, 125, "--timeout: -1 is negative, use 0 or more"},
	{[]string{"run", "debian:12", "ls", "-l"}, 125, `no profile "debian:12"; looked in HOME/.config/sbx/profiles, /etc/sbx/profiles, the built-in profiles ` + builtins + "; to run it in an image: sbx run --image=debian:12 -- ls -l"},
	{[]string{"run", "debian", "--", "ls"}, 125, `no profile "debian"; looked in HOME/.config/sbx/profiles, /etc/sbx/profiles, the built-in profiles ` + builtins},
	{[]string{"run", "-", "true"}, 125, "-:1:1: version: missing, write version = 1 at the top of the file"},
	{[]string{"run", "registry.example/debian", "ls"}, 125, "reading profile DIR/cwd/registry.example/debian: no such file or directory; to run it in an image: sbx run --image=registry.example/debian -- ls"},
	{[]string{"run", "--pids-limit", "many", "--", "true"}, 125, `--pids-limit: "many" is not an integer`},
	{[]string{"run", "--timeout", "soon", "--", "true"}, 125, `--timeout: "soon" is not a duration, use a number with a unit such as "10s" or "1h30m"`},
	{[]string{"run", "--network", "bridge", "--", "true"}, 125, `--network: unknown value "bridge", use "none", "user", "host", "sandbox:NAME" or "network:NAME"`},
	{[]string{"run", "--net=hots", "--", "true"}, 125, `--network: unknown value "hots", use "none", "user", "host", "sandbox:NAME" or "network:NAME" (did you mean "host"?)`},
	{[]string{"run", "-u", "0", "--", "true"}, 125, `--user: unknown value "0", use "auto", "keep" or "root"`},
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
	{[]string{"run", "-v", "data", "--", "true"}, 125, `--volume: "data" is the name of a volume and needs a target, write data:/DST; for a path write ./data`},
	{[]string{"run", "-v", ":/data", "--", "true"}, 125, `--volume: ":/data" has no source, write SRC[:DST][:ro|rw]`},
	{[]string{"run", "-v", "/usr:/data:z", "--", "true"}, 125, `--volume: z: sbx gives files no labels of SELinux's, leave it out`},
	{[]string{"run", "-v", "/usr:/data:x", "--", "true"}, 125, `--volume: unknown option "x", use ro, rw, overlay, noexec, optional or grantable`},
	{[]string{"run", "-v", "/a:/b:/c:rw", "--", "true"}, 125, `--volume: "/a:/b:/c:rw" has too many colons; for a path with one use --mount`},
	{[]string{"run", "-v", "/usr:/", "--", "true"}, 125, `--volume: target is "/", set root.source instead`},
	{[]string{"run", "-v", "/usr:/proc/x", "--", "true"}, 125, `--volume: target is under /proc, where only type = "mask" may be`},
	{[]string{"run", "--tmpfs", "scratch", "--", "true"}, 125, `--tmpfs: target "scratch" is not absolute, begin it with "/"`},
	{[]string{"run", "--tmpfs", "/scratch:huge", "--", "true"}, 125, `--tmpfs: unknown option "huge", use size=, mode=, nr_inodes=, ro, rw, exec or noexec`},
	{[]string{"run", "--tmpfs", "/scratch:size=x", "--", "true"}, 125, `--tmpfs: size: "x" is not a size, use bytes or a unit such as "64M" or "1G"`},
	{[]string{"run", "--mount", "type=bind,target=/x", "--", "true"}, 125, "--mount: type=bind needs a source, add source=PATH"},
	{[]string{"run", "--mount", "type=tmpfs", "--", "true"}, 125, "--mount: no target, add target=/PATH"},
	{[]string{"run", "--mount", "type=volume,target=/x", "--", "true"}, 125, `--mount: type=volume needs a source, add source=NAME`},
	{[]string{"run", "--mount", "type=tmpfs,target=/x,sise=1", "--", "true"}, 125, `--mount: unknown word "sise" (did you mean size?), use type=, source=, target=, ro, rw, noexec, dev, optional, grantable, content=, mode=, upper=, size= or inodes=`},
	{[]string{"run", "--mount", "type=tmpfs,target=/x,source=/y", "--", "true"}, 125, `--mount: source: has no effect with type = "tmpfs", remove it or set type = "bind", "symlink", "overlay" or "volume"`},

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
	{[]string{"doctor", "--format=json"}, 2, "no flag --format; use --json"},
	{[]string{"profile", "ls", "--json"}, 2, "no flag --json; use --format=json"},
	{[]string{"kill", "-15", "none"}, 2, "no flag -15; a signal is given as -s 15"},
	{[]string{"stop", ""}, 125, "the sandbox's name is empty; sbx ps -a lists them"},
	{[]string{"diff", "--stat", "--patch"}, 2, "--patch: it and --stat exclude each other"},
	{[]string{"compare", "--json", "--patch", "a", "b"}, 2, "--patch: it and --json exclude each other"},
	{[]string{"update", "--memory=lots", "none"}, 125, "no sandbox is called none; sbx ps -a lists them"},
	{[]string{"image", "tag", "a"}, 2, "missing: the image's name and a new one; usage: sbx image tag NAME NEWNAME"},
	{[]string{"doctor", "now"}, 2, `"now" is one argument too many; usage: sbx doctor [FLAGS]`},
	{[]string{"profile", "ls", "--format", "yaml"}, 2, `--format: unknown value "yaml", use text or json`},
	{[]string{"profile", "init", "golang"}, 2, `no built-in profile "golang", use one of ` + builtins},
	{[]string{"profile", "schema", "x"}, 2, `"x" is one argument too many; usage: sbx profile schema`},
	{[]string{"trust"}, 2, "there is no .sbx.toml here or above; name a file"},
	{[]string{"trust", "--list", "x"}, 2, "--list takes no file and no other flag"},
	{[]string{"trust", "none.toml"}, 125, "reading profile DIR/cwd/none.toml: no such file or directory"},
	{[]string{"untrust", "none.toml"}, 125, "DIR/cwd/none.toml was not trusted"},
	{[]string{"completion"}, 2, "completion for which shell? one of bash, zsh, fish"},
	{[]string{"completion", "tcsh"}, 2, `no completion for "tcsh" (did you mean bash?); one of bash, zsh, fish`},
	{[]string{"version", "x"}, 2, `"x" is one argument too many; usage: sbx version [FLAGS]`},
	{[]string{"network", "connect", "dev", "web"}, 2, "no such verb: network connect; a sandbox is in its networks from its start to its end, as in sbx run --network=network:NAME,OTHER"},
	{[]string{"network", "lst"}, 2, "no such verb: network lst (did you mean ls?); one of create, ls, inspect, rm"},
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
