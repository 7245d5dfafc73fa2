package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sbx-sandbox/sbx/profiles"
)

// ProfileAndCommand splits the arguments of run and explain. ref is "" when no
// profile is named.
func (inv *Invocation) ProfileAndCommand() (ref string, argv []string, err error) {
	args := inv.Args
	if len(args) == 0 || inv.Dash == 0 {
		return "", args, nil
	}
	ref, argv = args[0], args[1:]
	switch {
	case ref == "":
		return "", nil, Usagef("the profile's name is empty; leave it out for the default, as in sbx run -- COMMAND")
	case len(argv) > 0 && argv[0] == "--":
		return ref, argv[1:], nil
	case inv.Verb.Strict && len(argv) > 0 && len(argv[0]) > 1 && argv[0][0] == '-':
		env := profiles.HostEnv()
		var none *profiles.NotFoundError
		if _, err := profiles.Find(ref, env); errors.As(err, &none) && inPath(ref) {
			return "", nil, Usagef("no profile %q; to run the command %s: sbx run -- %s", ref, ref, Typed(args))
		}
		return "", nil, Usagef("%s stands after the profile %s, where the command begins; flags stand before it, and a command that begins with a dash after --", argv[0], ref)
	}
	return ref, argv, nil
}

// Typed is how args are typed, up to the first that a shell would read otherwise.
func Typed(args []string) string {
	plain := func(r rune) bool {
		return r < 0x7f && (r == '_' || r >= '-' && r <= ':' || r == '=' || r >= '@' && r <= 'Z' || r >= 'a' && r <= 'z')
	}
	for i, a := range args {
		if a == "" || strings.ContainsFunc(a, func(r rune) bool { return !plain(r) }) {
			return strings.Join(append(slices.Clone(args[:i]), "..."), " ")
		}
	}
	return strings.Join(args, " ")
}

// orImage adds to an error about a profile that is not there what may have been meant:
// other engines have an image in its place.
func (inv *Invocation) orImage(ref string, err error) error {
	var none *profiles.NotFoundError
	switch {
	case inv.Verb == nil || inv.Verb.Name != "run" || len(inv.Args) < 2 || inv.Args[0] != ref || inv.Args[1] == "--" || ref == "-":
		return err // none of it, or not as other engines have it
	case errors.As(err, &none):
		if len(none.Near) > 0 || strings.HasPrefix(ref, "builtin:") || strings.HasPrefix(ref, "user:") {
			return err
		}
	case strings.HasPrefix(ref, "/") || strings.HasPrefix(ref, ".") || strings.HasSuffix(ref, ".toml"):
		return err
	default:
		if _, missing := os.Lstat(ref); !errors.Is(missing, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("%w; to run it in an image: sbx run --image=%s -- %s", err, Typed(inv.Args[:1]), Typed(inv.Args[1:]))
}

// Load reads the profile that ref means; "" is the nearest .sbx.toml, else the
// user's default, else the built-in one.
func (inv *Invocation) Load(ref string) (*profiles.Profile, error) {
	inv.Env = profiles.HostEnvSeen(inv.Seen)
	var r profiles.Ref
	var err error
	if ref == "" {
		r, err = defaultProfile(inv.Env)
	} else {
		r, err = profiles.Find(ref, inv.Env)
	}
	var none *profiles.NotFoundError
	if errors.As(err, &none) && inPath(ref) {
		args := []string{ref}
		if inv.Verb != nil && inv.Verb.Runs && len(inv.Args) > 0 && inv.Args[0] == ref {
			args = inv.Args
		}
		return nil, fmt.Errorf("%w; to run the command %s: sbx run -- %s", err, ref, Typed(args))
	}
	if err != nil {
		return nil, inv.orImage(ref, err)
	}
	if inv.Profile, err = profiles.Load(r, inv.Env); err != nil {
		return inv.Profile, inv.orImage(ref, err)
	}
	return inv.Profile, nil
}

// CheckTrust is profiles.CheckTrust of what Load has loaded. A project's profile takes the
// place of the one that the user has named for what is run, if any, and is measured
// against that one then.
func (inv *Invocation) CheckTrust() error {
	if inv.Chosen == "" || len(inv.Profile.ProjectFiles()) == 0 {
		return profiles.CheckTrust(inv.Profile, nil, inv.Env)
	}
	base, err := profiles.NamedBase(inv.Chosen, inv.Profile, inv.Env)
	if err != nil {
		return err
	}
	return profiles.CheckTrust(inv.Profile, base, inv.Env)
}

func defaultProfile(env profiles.Env) (profiles.Ref, error) {
	if env.Cwd != "" {
		path, ok, err := profiles.Discover(env.Cwd, env)
		if ok || err != nil {
			return profiles.Ref{Path: path}, err
		}
	}
	return profiles.Default(env)
}

// inPath reports whether a word is the name of a program; only a hint hangs on it.
func inPath(word string) bool {
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		if st, err := os.Stat(filepath.Join(dir, word)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return !strings.Contains(word, "/")
		}
	}
	return false
}

// XDG is sbx's directory in one of the base directories of the XDG
// specification, which says to ignore relative values; "" = there is no home.
func (inv *Invocation) XDG(variable, fallback string) string {
	dir := os.Getenv(variable)
	if !filepath.IsAbs(dir) {
		if inv.Env.Home == "" {
			return ""
		}
		dir = filepath.Join(inv.Env.Home, fallback)
	}
	return filepath.Join(dir, "sbx")
}

// DataDir is sbx's directory for what it keeps; what that is, is for the error where
// there is no home.
func (inv *Invocation) DataDir(what string) (string, error) {
	if inv.Env.Home == "" {
		inv.Env = profiles.HostEnv()
	}
	data := inv.XDG("XDG_DATA_HOME", ".local/share")
	if data == "" {
		return "", fmt.Errorf("there is no home directory to keep %s in; set HOME or XDG_DATA_HOME", what)
	}
	return data, nil
}
