// Package project is the long-lived sandbox of a project, if one is up.
package project

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// Project is what a long-lived sandbox belongs to.
type Project struct {
	Dir  string
	file string // its .sbx.toml, "" for none
}

// At is the project of the current directory: that of the nearest
// .sbx.toml, else the directory itself.
func At(env profiles.Env) (Project, error) {
	file, ok, err := profiles.Discover(env.Cwd, env)
	switch {
	case err != nil:
		return Project{}, err
	case ok:
		return Project{filepath.Dir(file), file}, nil
	case env.Cwd == "":
		return Project{}, errors.New("the current directory is not known")
	}
	return Project{Dir: env.Cwd}, nil
}

// Name is what the project's sandbox is called: by the directory's name, for
// people, and by its path.
func (p Project) Name() string {
	base := strings.Map(func(r rune) rune {
		if r < 0x80 && state.CheckName("a"+string(r)) == nil {
			return r
		}
		return '-'
	}, filepath.Base(p.Dir))
	sum := sha256.Sum256([]byte(p.Dir))
	return fmt.Sprintf("up-%.40s-%s", base, hex.EncodeToString(sum[:4]))
}

// Outdated says why nothing more is to be started in a project's sandbox, or "".
// It reads no profile unless one was touched.
func Outdated(p Project, r *state.Record, env profiles.Env) string {
	about := r.Project
	store := profiles.OpenTrust(env)
	if about.Trusted && !store.Holds(about.Hash) {
		return "its profile is not trusted any more"
	}
	if about.Ref == "" && p.file != "" && !slices.Contains(r.Files, p.file) {
		return screen.Near(p.file) + " is new"
	}
	touched := slices.ContainsFunc(r.Files, func(file string) bool {
		if !filepath.IsAbs(file) {
			return false // a built-in
		}
		var st unix.Stat_t
		return unix.Stat(file, &st) != nil || !time.Unix(st.Ctim.Unix()).Before(r.Created)
	})
	if !touched || about.Hash == "" {
		return ""
	}
	ref := about.Ref
	if ref == "" {
		ref = p.Dir
	}
	found, err := profiles.Find(ref, env)
	if err == nil {
		var prof *profiles.Profile
		if prof, err = profiles.Load(found, env); err == nil && profiles.Fingerprint(prof) == about.Hash {
			return ""
		}
	}
	return "its profile has changed"
}

// IsUp finds the sandbox of the current directory's project. Without a .sbx.toml
// it is that of the nearest directory above that has one up.
func IsUp(env profiles.Env) (Project, state.Record, error) {
	p, err := At(env)
	if err != nil {
		return p, state.Record{}, err
	}
	store, err := state.OpenExisting()
	if err != nil {
		return p, state.Record{}, err
	}
	for at := p; ; at.Dir = filepath.Dir(at.Dir) {
		r, err := store.Named(at.Name())
		if err == nil && r.Alive() && r.Project != nil && r.Project.Dir == at.Dir {
			return at, r, nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return p, r, err
		}
		if p.file != "" || at.Dir == "/" || at.Dir == env.Home {
			return p, state.Record{}, nil
		}
	}
}

// UpNow is the project's sandbox if it is up and commands may be run in it.
func UpNow(env profiles.Env) (state.Record, bool) {
	p, r, err := IsUp(env)
	return r, err == nil && r.ID != "" && r.Status == state.Running && Outdated(p, &r, env) == ""
}

// PassedOn are the caller's variables that the project's profile lets in.
func PassedOn(about *state.Project, environ []string) []string {
	rules := profiles.Environment{Pass: about.Pass, Unset: about.Unset}
	var list []string
	for _, kv := range environ {
		name, _, ok := strings.Cut(kv, "=")
		if ok && name != "" && !slices.Contains(about.Fixed, name) && rules.Passes(name) {
			list = append(list, kv)
		}
	}
	return list
}
