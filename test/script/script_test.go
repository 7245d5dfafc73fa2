// Package script runs test/script/testdata/*.txtar: the command line as a
// person uses it. See go doc github.com/rogpeppe/go-internal/testscript.
//
// In a script sbx is a command ("sbx version", "! sbx nonsense") and a program
// on PATH ("exec sh -c 'sbx version'"). HOME and the XDG directories are the
// script's own. The features of test/sbxtest are conditions:
//
//	[!userns] skip 'needs userns: the script starts a sandbox'
package script

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

func TestScripts(t *testing.T) {
	sbx := sbxtest.Sbx(t)
	sbxtest.Leftovers(t)
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		Condition:          sbxtest.Condition,
		Setup:              func(env *testscript.Env) error { return setup(env, sbx) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sbx": func(ts *testscript.TestScript, neg bool, args []string) {
				err := ts.Exec(sbx, args...)
				switch {
				case err != nil && !neg:
					ts.Fatalf("sbx %q: %v", args, err)
				case err == nil && neg:
					ts.Fatalf("sbx %q succeeded", args)
				}
			},
		},
	})
}

// setup gives the script directories of its own. The name of the runtime
// directory is short: a socket's path has room for 107 bytes; see unix(7).
func setup(env *testscript.Env, sbx string) error {
	for _, d := range []struct{ name, dir string }{
		{"HOME", "home"},
		{"XDG_CONFIG_HOME", "home/.config"},
		{"XDG_CACHE_HOME", "home/.cache"},
		{"XDG_DATA_HOME", "home/.local/share"},
		{"XDG_STATE_HOME", "home/.local/state"},
		{"XDG_RUNTIME_DIR", "run"},
	} {
		dir := filepath.Join(env.WorkDir, d.dir)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		env.Setenv(d.name, dir)
	}
	env.Setenv("PATH", filepath.Dir(sbx)+":"+os.Getenv("PATH"))
	env.Setenv("LANG", "C.UTF-8")
	env.Setenv("TERM", "dumb")
	return nil
}
