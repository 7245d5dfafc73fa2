package projects

import (
	"slices"
	"strings"
	"testing"
)

// TestShellOf: what runs others' commands by a shell that can be chosen, or what it
// built by a program that can be, does so inside with sbx-sh. The control is the
// same without.
func TestShellOf(t *testing.T) {
	const spy = "cat /proc/1/comm ~/.ssh/id_ed25519; true"
	for _, tt := range []struct {
		name  string
		site  func(t *testing.T) *site
		argv  []string // without
		with  []string // what follows its first two words, @ stands for sbx-sh
		setup func(t *testing.T, s *site)
	}{
		{
			"go test -exec", func(t *testing.T) *site { s, _ := goSite(t, "exec"); return s },
			[]string{"go", "test", "-count=1", "-v", "."}, []string{"-exec", "@"},
			func(t *testing.T, s *site) {
				s.setenv("CGO_ENABLED=0", "GOCACHE="+goEnv(t, "GOCACHE")) // outside, where it is built
				s.Write(t, s.Project+"/go.mod", "module example.com/exec\n\ngo 1.21\n")
				s.Write(t, s.Project+"/where_test.go", "package exec\n\nimport (\n\t\"os\"\n\t\"os/exec\"\n\t\"testing\"\n)\n\n"+
					"func TestWhere(t *testing.T) {\n\tcmd := exec.Command(\"sh\", \"-c\", \""+spy+"\")\n\tcmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr\n\t_ = cmd.Run()\n}\n")
			},
		},
		{
			"cargo's runner", rustSite,
			[]string{"cargo", "run", "--offline", "-q"}, []string{"--config", `target."cfg(all())".runner="@"`},
			func(t *testing.T, s *site) {
				s.must(t, s.outside(t, "sh", "-c", "rm -r -- *")) // another test's
				s.Write(t, s.Project+"/Cargo.toml", "[package]\nname = \"where\"\nversion = \"1.0.0\"\nedition = \"2021\"\n")
				s.Write(t, s.Project+"/src/main.rs", "fn main() {\n    let _ = std::process::Command::new(\"sh\").args([\"-c\", \""+spy+"\"]).status();\n}\n")
			},
		},
		{
			"npm's script-shell", func(t *testing.T) *site { return newSite(t, "scripts", "node", "npm") },
			[]string{"npm", "run", "where"}, []string{"--script-shell=@"},
			func(t *testing.T, s *site) {
				s.setenv("npm_config_update_notifier=false")
				s.Write(t, s.Project+"/package.json", `{"name": "scripts", "version": "1.0.0", "scripts": {"where": "`+spy+`"}}`)
			},
		},
		{
			"make's SHELL", func(t *testing.T) *site { return newSite(t, "shell-of", "make") },
			[]string{"make", "-s", "where"}, []string{"SHELL=@"},
			func(t *testing.T, s *site) { s.Write(t, s.Project+"/Makefile", "where:\n\t"+spy+"\n") },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.site(t)
			tt.setup(t, s)
			sh := s.Home + "/sbx-sh"
			s.must(t, s.outside(t, "ln", "-s", s.Sbx, sh))
			const key = "decoy of .ssh/id_ed25519"
			s.must(t, s.outside(t, tt.argv...), key)
			argv := slices.Clone(tt.argv[:2])
			for _, word := range tt.with {
				argv = append(argv, strings.ReplaceAll(word, "@", sh))
			}
			r := s.outside(t, append(argv, tt.argv[2:]...)...)
			s.must(t, r, "sbx-init")
			if strings.Contains(r.Out+r.Err, key) {
				t.Errorf("the command read a key:\n%s%s", r.Out, r.Err)
			}
		})
	}
}
