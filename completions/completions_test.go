package completions

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// cases are command lines with the cursor at their end, and what some of the
// candidates are. A want that begins with "!" must not be one.
var cases = []struct {
	line string
	want []string
}{
	{"sbx ", []string{"run", "explain", "doctor", "profile", "help", "!__complete", "!__probe"}},
	{"sbx ru", []string{"run", "!explain"}},
	{"sbx profile ", []string{"ls", "show", "check", "!run"}},
	{"sbx run --netw", []string{"--network"}},
	{"sbx run --network ", []string{"none", "user", "host"}},
	{"sbx run --home t", []string{"tmpfs", "!none"}},
	{"sbx run -u ", []string{"keep", "root", "auto"}},
	{"sbx run bui", []string{"build"}},
	{"sbx run mi", []string{"mine"}},
	{"sbx run -q str", []string{"strict"}},
	{"sbx run som", []string{"some.toml"}},
	{"sbx shell pyt", []string{"python"}},
	{"sbx profile init ru", []string{"rust", "!mine"}},
	{"sbx hook ", []string{"bash", "zsh", "fish"}},
	{"sbx completion ", []string{"bash", "zsh", "fish"}},
	{"sbx trust so", []string{"some.toml"}},
	{"sbx help prof", []string{"profile"}},
	{"sbx doctor --js", []string{"--json"}},
	{"sbx run build completion-test-pro", []string{"completion-test-program"}},
	{"sbx run -- completion-test-pro", []string{"completion-test-program"}},
	{"sbx run --set limits.mem", []string{"limits.memory="}},
}

// room makes a directory with files, a home with a profile, and a program on
// PATH, and returns what a shell's environment is.
func room(t *testing.T) (dir string, env []string) {
	t.Helper()
	sbx := sbxtest.Sbx(t)
	dir = t.TempDir()
	for _, d := range []string{"work", "bin", "home/.config/sbx/profiles"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"home/.config/sbx/profiles/mine.toml": "version = 1\ndescription = \"it's mine: $HOME [x]\"\n",
		"work/some.toml":                      "version = 1\n",
		"bin/completion-test-program":         "#!/bin/sh\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(sbx, filepath.Join(dir, "bin/sbx")); err != nil {
		t.Fatal(err)
	}
	for file, shell := range map[string]string{"script.bash": "bash", "_sbx": "zsh", "script.fish": "fish"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(Script(shell)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "work"), []string{"HOME=" + dir + "/home", "PATH=" + dir + "/bin:/usr/bin:/bin", "TERM=dumb", "LC_ALL=C.UTF-8", "DIR=" + dir}
}

// shell runs a script in a shell that may not be installed.
func shell(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("needs %s, which is not installed", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func check(t *testing.T, line string, want, got []string) {
	t.Helper()
	for _, w := range want {
		if not, ok := strings.CutPrefix(w, "!"); ok == slices.Contains(got, strings.TrimPrefix(not, "!")) {
			t.Errorf("%q: want %s in %q", line, w, got)
		}
	}
}

// TestBash calls the function as bash does; TestBashTyped has bash call it.
func TestBash(t *testing.T) {
	dir, env := room(t)
	if got := shell(t, dir, env, "bash", "--norc", "-c", `source "$DIR/script.bash"; complete -p sbx`); got != "complete -F _sbx sbx\n" {
		t.Errorf("complete -p sbx: %q", got)
	}
	for _, tt := range cases {
		script := `source "$DIR/script.bash"; COMP_WORDS=($1); [[ $1 == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _sbx; printf '%s\n' "${COMPREPLY[@]}"`
		out := shell(t, dir, env, "bash", "--norc", "-c", script, "bash", tt.line)
		check(t, tt.line, tt.want, strings.Split(out, "\n"))
	}
}

// TestBashTyped types at an interactive bash: it splits words at = and :.
func TestBashTyped(t *testing.T) {
	dir, env := room(t)
	for line, want := range map[string]string{
		"sbx run --hostn\t":             "sbx run --hostname ",
		"sbx run --network=h\t":         "sbx run --network=host ",
		"sbx run --env-file=so\t":       "sbx run --env-file=some.toml ",
		"sbx profile sch\t":             "sbx profile schema ",
		"sbx run builtin:build true\t":  "sbx run builtin:build true",
		"sbx run --set limits.open_f\t": "sbx run --set limits.open_files=",
	} {
		script := fmt.Sprintf(`set timeout 20
spawn -noecho bash --norc --noprofile -i
send "PS1='> '; source \"\$DIR/script.bash\"; bind 'set enable-bracketed-paste off'; echo rea\"\"dy\r"
expect ready
expect "> "
send -- %q
expect {
  -ex %q {}
  timeout { puts "NOT COMPLETED"; exit 1 }
}
send "\025exit\r"
expect eof
`, line, want)
		shell(t, dir, env, "expect", "-c", script)
	}
}

// TestZsh types at an interactive zsh in a pseudo-terminal of its zpty module.
func TestZsh(t *testing.T) {
	dir, env := room(t)
	if _, err := exec.LookPath("zsh"); err != nil {
		t.Skip("needs zsh, which is not installed")
	}
	// Instead of drawing them, the shell in the terminal prints what compadd is
	// given, between marks.
	const script = `
zmodload zsh/zpty
zpty -b z "zsh -f -i"
zpty -w z 'PS1=; unsetopt zle_bracketed_paste; fpath=($DIR $fpath); autoload -Uz compinit; compinit -u -D; stty -echo'
zpty -w z 'compadd() { if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return $?; fi
  local -a hits; builtin compadd -A hits "$@"; local h; for h in $hits; do print -r -- "HIT:${IPREFIX}$h:"; done; builtin compadd "$@" }'
zpty -w z 'finish() { print MARK-END; }; list() { zle list-choices; finish }; zle -N list; bindkey "^Y" list; bindkey "^U" kill-whole-line; print MARK-START'
zpty -r -m z out '*MARK-START*' || exit 3
for line in "$@"; do
  print -r -- "LINE:$line"
  zpty -w -n z "$line"$'\031'
  out=
  zpty -r -m z out '*MARK-END*' || exit 4
  print -r -- "$out"
  zpty -w -n z $'\025'
done
zpty -d z
`
	args := []string{"-f", "-c", script, "zsh"}
	for _, tt := range cases {
		args = append(args, tt.line)
	}
	out := shell(t, dir, env, "zsh", args...)
	for i, part := range strings.Split(out, "LINE:")[1:] {
		var hits []string
		for line := range strings.Lines(part) {
			if _, hit, ok := strings.Cut(line, "HIT:"); ok {
				hits = append(hits, strings.TrimSuffix(strings.TrimRight(hit, "\r\n"), ":"))
			}
		}
		check(t, cases[i].line, cases[i].want, hits)
	}
	if strings.Count(out, "LINE:") != len(cases) {
		t.Errorf("of %d lines zsh answered %d:\n%s", len(cases), strings.Count(out, "LINE:"), out)
	}
}

func TestFish(t *testing.T) {
	dir, env := room(t)
	for _, tt := range append(cases, []struct {
		line string
		want []string
	}{
		{"sbx run --network=h", []string{"--network=host"}},
		{"sbx run --env-file=so", []string{"--env-file=some.toml"}},
	}...) {
		out := shell(t, dir, env, "fish", "--no-config", "-c", `source "$DIR/script.fish"; complete -C "$argv[1]"`, tt.line)
		var got []string
		for line := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			got = append(got, word)
		}
		check(t, tt.line, tt.want, got)
	}
}

func TestScript(t *testing.T) {
	if Script("tcsh") != "" || !strings.HasPrefix(Script("zsh"), "#compdef sbx\n") {
		t.Error("wrong scripts")
	}
}
