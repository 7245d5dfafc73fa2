package userns

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// script writes an executable shell script.
func script(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func lookIn(t *testing.T, dirs ...string) {
	t.Helper()
	saved := HelperDirs
	HelperDirs = dirs
	t.Cleanup(func() { HelperDirs = saved })
}

func TestFindHelper(t *testing.T) {
	root := os.Getuid() == 0
	dir, second := t.TempDir(), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	script(t, at("good"), "", 0o755)
	script(t, at("setuid"), "", 0o755|os.ModeSetuid)
	script(t, at("group"), "", 0o775)
	script(t, at("world"), "", 0o757)
	script(t, at("plain"), "", 0o644)
	script(t, at("later"), "", 0o644)
	script(t, filepath.Join(second, "later"), "", 0o755)
	script(t, at("others"), "", 0o755)
	if root {
		if err := os.Chown(at("others"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(at("dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("none", at("dangling")); err != nil {
		t.Fatal(err)
	}
	lookIn(t, filepath.Join(dir, "missing"), dir, second)
	const mine = " must belong to root and be writable by root only"
	for _, tt := range []struct {
		name, file string
		root       bool // only root can make a file of root's
		want, err  string
	}{
		{"root's", "good", true, at("good"), ""},
		{"setuid", "setuid", true, at("setuid"), ""},
		{"refused here, good in a later directory", "later", true, filepath.Join(second, "later"), ""},
		{"group-writable", "group", false, "", at("group") + mine},
		{"world-writable", "world", false, "", at("world") + mine},
		{"another's", "others", false, "", at("others") + mine},
		{"not executable", "plain", false, "", at("plain") + " is not an executable file"},
		{"a directory", "dir", false, "", at("dir") + " is not an executable file"},
		{"a link to nothing", "dangling", false, "", "dangling is not installed; an administrator can install it (package uidmap on Debian and Ubuntu, shadow-utils on Fedora)"},
		{"missing", "none", false, "", "none is not installed; an administrator can install it (package uidmap on Debian and Ubuntu, shadow-utils on Fedora)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root && !root {
				tt.want, tt.err = "", strings.TrimSuffix(tt.want, "/")+mine
			}
			got, err := FindHelper(tt.file)
			if got != tt.want || message(err) != tt.err {
				t.Errorf("FindHelper = %q, %q, want %q, %q", got, message(err), tt.want, tt.err)
			}
		})
	}
}

// TestWrite uses scripts in place of the helpers, which say how they were
// called.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	uid, gid, bad, mute := filepath.Join(dir, "u"), filepath.Join(dir, "g"), filepath.Join(dir, "bad"), filepath.Join(dir, "mute")
	script(t, uid, `echo "$@" >`+dir+"/u.args\nenv >"+dir+"/env\n", 0o700)
	script(t, gid, `echo "$@" >`+dir+"/g.args\n", 0o700)
	script(t, bad, "echo 'newuidmap: uid range [0-1) -> [7-8) not allowed' >&2\nexit 1\n", 0o700)
	script(t, mute, "exit 3\n", 0o700)
	uids, gids := Keep(1000, Range{100000, 65536}), Self(0, 7)
	t.Setenv("LD_PRELOAD_SAMPLE", "x")
	if err := Write(context.Background(), uid, gid, 42, uids, gids); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"u.args": "42 0 100000 1000 1000 1000 1 1001 101000 64536\n",
		"g.args": "42 0 7 1\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", file, got, err, want)
		}
	}
	if env, err := os.ReadFile(filepath.Join(dir, "env")); err != nil || strings.Contains(string(env), "SAMPLE") {
		t.Errorf("the helper was given the caller's environment: %s %v", env, err)
	}
	none := filepath.Join(dir, "none")
	for _, tt := range []struct{ name, uid, gid, want string }{
		{"one fails", bad, gid, "mapping 65537 ids by " + bad + ": exit status 1: newuidmap: uid range [0-1) -> [7-8) not allowed"},
		{"both fail", bad, mute, "mapping 65537 ids by " + bad + ": exit status 1: newuidmap: uid range [0-1) -> [7-8) not allowed\n" +
			"mapping 1 ids by " + mute + ": exit status 3"},
		{"missing", uid, none, "mapping 1 ids by " + none + ": fork/exec " + none + ": no such file or directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Write(context.Background(), tt.uid, tt.gid, 42, uids, gids)
			if message(err) != tt.want {
				t.Errorf("Write: %q, want %q", message(err), tt.want)
			}
			if tt.name == "missing" && !errors.Is(err, unix.ENOENT) {
				t.Errorf("%v does not unwrap to its errno", err)
			}
		})
	}
}
