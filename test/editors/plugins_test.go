package editors

import (
	"archive/zip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// TestNeovimPlugin: status, trust, and what the network has blocked, as notifications
// with what allows it.
func TestNeovimPlugin(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tun, sbxtest.Tool("nvim"), sbxtest.Tool("bash"))
	sbxtest.Leftovers(t)
	w := world.New(t)
	world.Adopt(t)
	w.Write(t, w.Work+"/.sbx.toml", "version = 1\n[network]\nmode = \"user\"\nallow = [\"example.com:443\"]\n")
	script, err := filepath.Abs("testdata/plugin.lua")
	if err != nil {
		t.Fatal(err)
	}
	plugin, err := filepath.Abs("../../editors/nvim")
	if err != nil {
		t.Fatal(err)
	}
	cmd := w.Command("nvim", "--headless", "-u", "NONE", "-i", "NONE", "-n", "+luafile "+script)
	cmd.Env = append(cmd.Env, "SBX="+w.Sbx, "PLUGIN="+plugin)
	got := world.Wait(t, cmd)
	if got.Code != 0 || strings.Contains(got.Out, "it does not") || !strings.Contains(got.Out, "it asks: with what is asked for\n") || !strings.HasSuffix(got.Out, "the end\n") {
		t.Errorf("status %d\n%s%s", got.Code, got.Out, got.Err)
	}
}

// TestEmacs: with the settings that sbx editor init prints, eglot's server runs in the
// sandbox, finds the mistake, and Emacs jumps to the definition.
func TestEmacs(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("emacs"), sbxtest.Tool("clangd"))
	sbxtest.Leftovers(t)
	w := world.New(t)
	world.Adopt(t)
	w.Write(t, w.Work+"/.sbx.toml", "version = 1\n")
	w.Write(t, w.Work+"/a.c", "static int twice(int x) { return 2 * x; }\nint main(void) { return twice(2) + nowhere; }\n")
	settings := w.Run(t, w.Sbx, "editor", "init", "emacs")
	w.Write(t, w.Home+"/settings.el", settings.Out)
	script, err := filepath.Abs("testdata/session.el")
	if err != nil {
		t.Fatal(err)
	}
	if has := w.Run(t, "emacs", "--batch", "--eval", "(require 'eglot)"); has.Code != 0 {
		sbxtest.Require(t, sbxtest.Tool("eglot"))
	}
	if r := w.Run(t, w.Sbx, "up"); r.Code != 0 {
		t.Fatalf("up: %s", r.Err)
	}
	cmd := w.Command("emacs", "--batch", "--load", script)
	cmd.Env = append(cmd.Env, "SETTINGS="+w.Home+"/settings.el", "FILE="+w.Work+"/a.c", "PATH="+filepath.Dir(w.Sbx)+":/usr/bin:/bin")
	got := world.Wait(t, cmd)
	for _, want := range []string{"server: sbx lsp -- ", "clangd", "diagnostic: ", "'nowhere'", "definition: line 1\n", "the end\n"} {
		if !strings.Contains(got.Out, want) {
			t.Errorf("emacs did not say %q; status %d\n%s%s", want, got.Code, got.Out, got.Err)
		}
	}
	if r := w.Run(t, w.Sbx, "down"); r.Code != 0 {
		t.Errorf("down: %s", r.Err)
	}
}

// extension is a copy of the VS Code extension, where the account may write.
func extension(t *testing.T, w *world.World) string {
	t.Helper()
	for _, dir := range []string{"editors/vscode", "profiles"} {
		if err := os.CopyFS(filepath.Join(w.Home, "copy", dir), os.DirFS(filepath.Join("../..", dir))); err != nil {
			t.Fatal(err)
		}
	}
	license, err := os.ReadFile("../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	w.Write(t, w.Home+"/copy/LICENSE", string(license))
	return filepath.Join(w.Home, "copy", "editors", "vscode")
}

// TestVSCode runs the extension's own tests, with the sbx under test.
func TestVSCode(t *testing.T) {
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("node"))
	sbxtest.Leftovers(t)
	w := world.New(t)
	world.Adopt(t)
	cmd := w.Command("node", "--test", "test")
	cmd.Dir = extension(t, w)
	cmd.Env = append(cmd.Env, "SBX_BIN="+w.Sbx, "SBX_TEST_DIR="+w.Work)
	got := world.Wait(t, cmd)
	if got.Code != 0 || !strings.Contains(got.Out, "\n# fail 0\n") || !strings.Contains(got.Out, "\n# skipped 0\n") {
		t.Errorf("status %d\n%s%s", got.Code, got.Out, got.Err)
	}
}

// TestVSIX: the extension's package builds, and has what it needs and no more.
func TestVSIX(t *testing.T) {
	vsce := sbxtest.Tool(installed("vsce/node_modules/.bin/vsce"))
	vsce.Name = "vsce"
	sbxtest.Require(t, sbxtest.UserNS, sbxtest.Tool("node"), sbxtest.Tool("npm"), vsce)
	w := world.New(t)
	cmd := w.Command(installed("vsce/node_modules/.bin/vsce"), "package", "--no-dependencies", "--out", w.Home+"/sbx.vsix")
	cmd.Dir = extension(t, w)
	if got := world.Wait(t, cmd); got.Code != 0 {
		t.Fatalf("status %d\n%s%s", got.Code, got.Out, got.Err)
	}
	z, err := zip.OpenReader(w.Home + "/sbx.vsix")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	have := map[string]bool{}
	for _, f := range z.File {
		have[f.Name] = true
		if strings.Contains(f.Name, "test") {
			t.Errorf("it holds %s", f.Name)
		}
	}
	for _, name := range []string{"extension/package.json", "extension/extension.js", "extension/lib.js", "extension/sbx.schema.json", "extension/LICENSE.txt"} {
		if !have[name] {
			t.Errorf("it lacks %s", name)
		}
	}
}
