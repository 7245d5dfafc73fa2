package profiles

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/sbx-sandbox/sbx/sandbox/seen"
)

// Env is what loading a profile may know of the caller. Nothing else is read
// from the process, so tests can make one up.
type Env struct {
	Home   string // absolute; "" = not known
	User   string // login name
	UID    int
	GID    int
	Cwd    string              // absolute
	Getenv func(string) string // nil = no variables

	Stdin     io.Reader // what "-" reads; nil = nothing
	SystemDir string    // the administrator's directory; "" = /etc/sbx
	Seen      *seen.Log // remembers the files that were looked at; nil = nobody does
}

// HostEnv describes the calling process. The home directory is $HOME when that
// is absolute, else what /etc/passwd says.
func HostEnv() Env { return HostEnvSeen(nil) }

// HostEnvSeen is HostEnv; what it looks at, and what is looked at by it, is
// remembered.
func HostEnvSeen(log *seen.Log) Env {
	e := Env{
		Home:   os.Getenv("HOME"),
		User:   os.Getenv("USER"),
		UID:    os.Getuid(),
		GID:    os.Getgid(),
		Getenv: os.Getenv,
		Stdin:  os.Stdin,
		Seen:   log,
	}
	e.Cwd, _ = e.getwd() // without it, relative paths are reported where they are used
	if filepath.IsAbs(e.Home) && e.User != "" {
		return e
	}
	name, home := e.passwdEntry()
	if !filepath.IsAbs(e.Home) {
		e.Home = home
	}
	if e.User == "" {
		e.User = name
	}
	if e.User == "" {
		e.User = strconv.Itoa(e.UID)
	}
	return e
}

// getwd is os.Getwd: $PWD where that is the current directory.
func (e Env) getwd() (string, error) {
	if dir := os.Getenv("PWD"); filepath.IsAbs(dir) {
		here, err := e.Seen.Stat(".")
		if err != nil {
			return "", err
		}
		if there, err := e.Seen.Stat(dir); err == nil && here.Dev == there.Dev && here.Ino == there.Ino {
			return dir, nil
		}
	}
	return syscall.Getwd()
}

// passwdEntry finds the user's name and home in /etc/passwd, see passwd(5). Other
// sources of accounts need the C library.
func (e Env) passwdEntry() (name, home string) {
	text, err := e.readFile("/etc/passwd")
	if err != nil {
		return "", ""
	}
	id := strconv.Itoa(e.UID)
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(fields) == 7 && fields[2] == id {
			return fields[0], fields[5]
		}
	}
	return "", ""
}

// getenv is Getenv that may be nil.
func (e Env) getenv(name string) string {
	if e.Getenv == nil {
		return ""
	}
	return e.Getenv(name)
}

// xdg returns a base directory: the variable if it holds an absolute path,
// else fallback below the home; "" if there is neither. The XDG Base Directory
// Specification says to ignore relative values.
func (e Env) xdg(name, fallback string) string {
	if v := e.getenv(name); filepath.IsAbs(v) {
		return filepath.Clean(v)
	}
	if e.Home == "" {
		return ""
	}
	return filepath.Join(e.Home, fallback)
}

// userDir is where the user's own profiles are, "" if there is no home.
func (e Env) userDir() string {
	if dir := e.xdg("XDG_CONFIG_HOME", ".config"); dir != "" {
		return filepath.Join(dir, "sbx", "profiles")
	}
	return ""
}

// systemDir is where the administrator's profiles are.
func (e Env) systemDir() string {
	if e.SystemDir != "" {
		return filepath.Join(e.SystemDir, "profiles")
	}
	return "/etc/sbx/profiles"
}

// variables are the names that ${NAME} may use, sorted.
var variables = []string{
	"GID", "HOME", "PROFILE_DIR", "UID", "USER", "WORKSPACE",
	"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME",
}

// scope gives variables their values in one file.
type scope struct {
	env       Env
	dir       string // of the file
	workspace string
}

// value returns the value of one of variables; "" means that it has none here.
func (s scope) value(name string) string {
	switch name {
	case "HOME":
		return s.env.Home
	case "USER":
		return s.env.User
	case "UID":
		return strconv.Itoa(s.env.UID)
	case "GID":
		return strconv.Itoa(s.env.GID)
	case "WORKSPACE":
		return s.workspace
	case "PROFILE_DIR":
		return s.dir
	case "XDG_CONFIG_HOME":
		return s.env.xdg(name, ".config")
	case "XDG_DATA_HOME":
		return s.env.xdg(name, ".local/share")
	case "XDG_CACHE_HOME":
		return s.env.xdg(name, ".cache")
	case "XDG_STATE_HOME":
		return s.env.xdg(name, ".local/state")
	case "XDG_RUNTIME_DIR":
		if v := s.env.getenv(name); filepath.IsAbs(v) {
			return filepath.Clean(v)
		}
		return "/run/user/" + strconv.Itoa(s.env.UID)
	}
	return ""
}

// expand replaces ${NAME} by lookup's answer and $$ by one $. A $ before
// anything else stands for itself. The second result says what is wrong.
func expand(text string, lookup func(name string) (value, problem string)) (string, string) {
	if !strings.Contains(text, "$") {
		return text, ""
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		switch text[i+1] {
		case '$':
			b.WriteByte('$')
			i++
		case '{':
			end := strings.IndexByte(text[i:], '}')
			if end < 0 {
				return "", `"${" without "}"; write "$${" for the characters themselves`
			}
			value, problem := lookup(text[i+2 : i+end])
			if problem != "" {
				return "", problem
			}
			b.WriteString(value)
			i += end
		default:
			b.WriteByte('$')
		}
	}
	return b.String(), ""
}

// escapeVars is the inverse of expand for text that holds no variables.
func escapeVars(text string) string { return strings.ReplaceAll(text, "$", "$$") }

// knownVariable is a lookup for expand that only checks names.
func knownVariable(name string) (string, string) {
	for _, v := range variables {
		if v == name {
			return "", ""
		}
	}
	return "", "unknown variable ${" + name + "}" + varHint(name)
}

// varHint suggests a variable for a name that is none.
func varHint(name string) string {
	if near := nearest(strings.ToUpper(name), variables); near != "" {
		return " (did you mean ${" + near + "}?)"
	}
	for _, v := range variables {
		if strings.EqualFold(v, name) {
			return " (did you mean ${" + v + "}?)"
		}
	}
	return "; known are " + strings.Join(variables, ", ")
}

// lookup is scope's lookup for expand.
func (s scope) lookup(name string) (string, string) {
	if _, problem := knownVariable(name); problem != "" {
		return "", problem
	}
	v := s.value(name)
	if v == "" && name == "WORKSPACE" {
		return "", "${WORKSPACE} is not known yet here, use ${PROFILE_DIR} or write the path"
	}
	if v == "" {
		return "", "${" + name + "} has no value here; set it or write the path"
	}
	return v, ""
}

// expandPath expands text as a path: variables, "~/", and relative to base.
// With base = "" a relative path stays relative.
func (s scope) expandPath(text, base string) (string, string) {
	if text == "" {
		return "", ""
	}
	prefix := ""
	if text == "~" || strings.HasPrefix(text, "~/") {
		if s.env.Home == "" {
			return "", "the home directory is not known; set HOME or write the path"
		}
		prefix, text = s.env.Home, text[1:]
	} else if text[0] == '~' {
		return "", "only ~/ is expanded; write the home directory of another user in full"
	}
	path, problem := expand(text, s.lookup)
	if problem != "" {
		return "", problem
	}
	path = prefix + path
	if base != "" && !filepath.IsAbs(path) {
		path = filepath.Join(base, path)
	}
	return path, ""
}
