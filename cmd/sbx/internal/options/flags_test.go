package options

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestRunFlags: what each flag sets.
func TestRunFlags(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HOME", "/home/user")
	if err := os.WriteFile("vars.env", []byte("# comment\n\nA=1\r\n  B\nC=x y#z\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(dir, "sub")
	for _, tt := range []struct {
		line string
		want []string // KEY=VALUE, and "env NAME=VALUE"
	}{
		{"-m 1G", []string{"limits.memory=1G"}},
		{"--memory=1G", []string{"limits.memory=1G"}},
		{"--pids-limit=-1", []string{"limits.processes=-1"}},
		{"--net host", []string{"network.mode=host"}},
		{"--network none", []string{"network.mode=none"}},
		{"-t", []string{"process.tty=always"}},
		{"-tq", []string{"process.tty=always"}},
		{"--tty=never", []string{"process.tty=never"}},
		{"--timeout 90", []string{"process.timeout=90s"}},
		{"--timeout 5m", []string{"process.timeout=5m"}},
		{"--stop-timeout 0", []string{"process.stop_timeout=0s"}},
		{"--stop-signal int", []string{"process.stop_signal=SIGINT"}},
		{"--stop-signal SIGQUIT", []string{"process.stop_signal=SIGQUIT"}},
		{"--stop-signal=12", []string{"process.stop_signal=SIGUSR2"}},
		{"--stop-signal nothing", []string{"process.stop_signal=nothing"}},
		{"--shm-size 1g", []string{"root.shm=1g"}},
		{"-u root", []string{"user.as=root"}},
		{"--uidmap 0:1000 --gidmap 0:1000:1", []string{"user.uid_map=0:1000:1", "user.gid_map=0:1000:1"}},
		{"-w /a$b", []string{"process.working_dir=/a$$b"}},
		{"--ulimit nofile=64 --ulimit cpu=10 --ulimit stack=8M:8M", []string{"limits.open_files=64", "limits.cpu_time=10s", "limits.stack=8M"}},
		{"--set limits.memory=1G --memory 2G", []string{"limits.memory=1G", "limits.memory=2G"}},
		{`--set mounts."/a=b".type=tmpfs`, []string{`mounts."/a=b".type=tmpfs`}},
		{"-e A=1 -eB --env C= --env-file vars.env", []string{"env A=1", "env B", "env C=", "env A=1", "env B", "env C=x y#z"}},
		{"--tmpfs /s", []string{`mounts."/s".type=tmpfs`, `mounts."/s".access=rw`, `mounts."/s".exec=true`}},
		{"--tmpfs /s/:size=1M,mode=0700,noexec,ro", []string{`mounts."/s".type=tmpfs`, `mounts."/s".size=1M`, `mounts."/s".mode=0700`, `mounts."/s".access=ro`, `mounts."/s".exec=false`}},
		{"-v /a:/b", bind("/b", "/a", "ro", "true", "false")},
		{"-v /a:/b:rw,noexec", bind("/b", "/a", "rw", "false", "false")},
		{"-v /a:optional", bind("/a", "/a", "ro", "true", "true")},
		{"-v ./sub", bind(sub, "./sub", "ro", "true", "false")},
		{"-v ~/x:~/y/", bind("~/y", "~/x", "ro", "true", "false")},
		{"-v /a$b:/c", bind("/c", "/a$$b", "ro", "true", "false")},
		{"--mount source=/a,target=/b,readonly=false", mount("/b", "type=bind", "source=/a", "access=rw", "exec=true", "dev=false", "optional=false", "grantable=false")},
		{"--mount type=bind,src=/dev/kvm,dev", mount("/dev/kvm", "type=bind", "source=/dev/kvm", "access=ro", "exec=true", "dev=true", "optional=false", "grantable=false")},
		{`--mount type=file,dst=/f,"content=a,b",mode=0600`, mount("/f", "type=file", "content=a,b", "mode=0600")},
		{"--mount type=symlink,source=../x,target=/l", mount("/l", "type=symlink", "source=../x")},
	} {
		fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
		o := RunFlags(fs)
		if err := fs.Parse(append(strings.Split(tt.line, " "), "--", "true")); err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		var got []string
		for _, v := range o.Over {
			got = append(got, v.Key+"="+v.Value)
		}
		for _, e := range o.Env {
			got = append(got, "env "+e)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %q\nwant %q", tt.line, got, tt.want)
		}
	}
}

func mount(target string, keys ...string) []string {
	var list []string
	for _, k := range keys {
		list = append(list, fmt.Sprintf("mounts.%q.%s", target, k))
	}
	return list
}

func bind(target, source, access, exec, optional string) []string {
	return mount(target, "type=bind", "source="+source, "access="+access, "exec="+exec, "optional="+optional, "grantable=false", "dev=false")
}

func TestCPUWeight(t *testing.T) {
	for shares, want := range map[string]string{"2": "1", "256": "35", "512": "59", "1024": "100", "2048": "174", "262144": "10000", "1": "1 shares", "x": "x shares"} {
		if got := cpuWeight(shares); got != want {
			t.Errorf("%s shares are a weight of %s, want %s", shares, got, want)
		}
	}
}
