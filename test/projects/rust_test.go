package projects

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// rustSite is a site with cargo: the caller's own rustup, else the system's.
func rustSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "rust", "gcc")
	own := os.Getenv("HOME")
	if world.Exists(own+"/.cargo/bin/cargo") && world.Exists(own+"/.rustup") {
		s.must(t, s.outside(t, "sh", "-ec", `ln -s "$0/.rustup" "$HOME/.rustup"; mkdir -p "$HOME/.cargo"; cp -a "$0/.cargo/bin" "$HOME/.cargo/bin"`, own))
		s.setenv("PATH=" + s.Home + "/.cargo/bin:" + s.getenv("PATH"))
		return s
	}
	sbxtest.Require(t, sbxtest.Tool("cargo"))
	return s
}

// TestRust builds and tests a crate with a build script and a path dependency.
func TestRust(t *testing.T) {
	s := rustSite(t)
	s.must(t, s.outside(t, "cargo", "generate-lockfile", "--offline"))
	s.commit(t)
	s.untouched(t)
	s.must(t, s.script(t, "rust", "cargo build --offline && cargo test --locked --offline && cargo run -q"),
		"test tests::squares ... ok", "test runs ... ok", "test src/lib.rs - minutes (line 6) ... ok", "120")
	s.status(t, "target/")
	s.blind(t, "rust", ".cargo/bin", ".rustup")
}

// TestRustCache: crates of a registry and of a git repository that cargo has
// fetched before, one that it has not, and the credentials beside them.
func TestRustCache(t *testing.T) {
	s := rustSite(t)
	s.crates(t)
	s.Write(t, s.Project+"/Cargo.toml", fmt.Sprintf(`[package]
name = "planner"
version = "0.1.0"
edition = "2021"

[dependencies]
units = { path = "units" }
sbx-fixture-git = { git = "file://%[1]s/git-crate" }
sbx-fixture-crate = { version = "1", registry-index = "file://%[1]s/index" }
`, s.Home+"/upstream"))
	s.Write(t, s.Project+"/src/main.rs", "fn main() {\n    println!(\"{} {}\", sbx_fixture_git::name(), sbx_fixture_crate::name());\n}\n")
	s.must(t, s.outside(t, "cargo", "fetch"))
	s.commit(t)
	s.untouched(t)
	s.must(t, s.sandboxed(t, "rust", "cargo", "run"), "git crate")
	s.fails(t, s.script(t, "rust", `sed 's/"1"/"2"/' Cargo.toml >"$HOME/Cargo.toml"; cp -r src units "$HOME"; cd "$HOME" && cargo build`), "sbx-fixture-crate", "offline")
	s.status(t, "target/")
	s.blind(t, "rust", ".cargo/bin", ".rustup", ".cargo/registry/index", ".cargo/registry/cache", ".cargo/registry/src", ".cargo/git/db", ".cargo/git/checkouts")
}

// crates makes a git repository with a crate, and a registry with another.
func (s *site) crates(t *testing.T) {
	t.Helper()
	manifest := "[package]\nname = \"sbx-fixture-%s\"\nversion = \"1.0.0\"\nedition = \"2021\"\n"
	upstream := filepath.Join(s.Home, "upstream")
	s.Write(t, upstream+"/git-crate/Cargo.toml", fmt.Sprintf(manifest, "git"))
	s.Write(t, upstream+"/git-crate/src/lib.rs", "pub fn name() -> &'static str {\n    \"git\"\n}\n")
	ball := tarball(t, "sbx-fixture-crate-1.0.0/", map[string]string{
		"Cargo.toml": fmt.Sprintf(manifest, "crate"),
		"src/lib.rs": "pub fn name() -> &'static str {\n    \"crate\"\n}\n",
	})
	s.Write(t, upstream+"/dl/sbx-fixture-crate/1.0.0/download", string(ball))
	s.Write(t, upstream+"/index/config.json", `{"dl": "file://`+upstream+`/dl"}`)
	s.Write(t, upstream+"/index/sb/x-/sbx-fixture-crate", fmt.Sprintf(
		`{"name":"sbx-fixture-crate","vers":"1.0.0","deps":[],"cksum":"%x","features":{},"yanked":false}`+"\n", sha256.Sum256(ball)))
	for _, dir := range []string{"git-crate", "index"} {
		s.must(t, s.outside(t, "sh", "-ec", "cd \"$0\"; git init -q; git add -A; git commit -qm import", filepath.Join(upstream, dir)))
	}
}

// TestRustManager: a toolchain as rustup puts it into the home, found through
// PATH; its own settings are there and its directory can be written.
func TestRustManager(t *testing.T) {
	s := newSite(t, "rust-manager")
	s.must(t, s.outside(t, "sh", "-ec", `bin=$HOME/.rustup/toolchains/mine/bin
mkdir -p "$bin" "$HOME/.cargo/bin"
printf '#!/bin/sh\necho mine\n' >"$bin/rustc"
printf '#!/bin/sh\nset -e\nmkdir -p "$RUSTUP_HOME/update-hashes" "$RUSTUP_HOME/tmp"\ntoolchain=$(cat "$RUSTUP_HOME/settings.toml")\nexec "$RUSTUP_HOME/toolchains/$toolchain/bin/rustc"\n' >"$HOME/.cargo/bin/rustc"
chmod +x "$bin/rustc" "$HOME/.cargo/bin/rustc"
echo mine >"$HOME/.rustup/settings.toml"`))
	s.setenv("PATH=" + s.Home + "/.cargo/bin:" + s.getenv("PATH"))
	s.untouched(t)
	s.must(t, s.sandboxed(t, "rust", "rustc"), "mine")
	s.fails(t, s.script(t, "rust", `touch "$RUSTUP_HOME/toolchains/new"`), "Read-only file system")
	s.blind(t, "rust", ".cargo/bin", ".rustup/toolchains", ".rustup/settings.toml")
}

// TestRustup uses the caller's own rustup, where there is one.
func TestRustup(t *testing.T) {
	own := os.Getenv("HOME")
	s := rustSite(t)
	if !world.Exists(own + "/.rustup/settings.toml") {
		sbxtest.Require(t, sbxtest.Missing("rustup", "the account has no rustup"))
	}
	s.must(t, s.sandboxed(t, "rust", "rustc", "--print", "sysroot"), ".rustup/toolchains/")
	r := s.sandboxed(t, "rust", "sh", "-c", "command -v cargo")
	s.must(t, r)
	if want := s.Home + "/.cargo/bin/cargo"; strings.TrimSpace(r.Out) != want {
		t.Errorf("cargo is %s, want %s", r.Out, want)
	}
}
