package profiles

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Ref is a profile that Find found and Load reads.
type Ref struct {
	Builtin string // name of a built-in; "" = a file
	Path    string // absolute path of a file; "-" = standard input
}

// String is the name of the profile in Profile.Files and in messages.
func (r Ref) String() string {
	if r.Builtin != "" {
		return "builtin:" + r.Builtin
	}
	return r.Path
}

// ProjectFile is the name of a project's own profile.
const ProjectFile = ".sbx.toml"

// maxFile is the size of the largest profile that is read, in bytes.
const maxFile = 1 << 20

// NotFoundError says that no profile has the name, and where it could have been.
type NotFoundError struct {
	Name   string
	Looked []string // places, in order
	Near   []string // names that are similar
}

func (e *NotFoundError) Error() string {
	msg := fmt.Sprintf("no profile %q", e.Name)
	if len(e.Near) > 0 {
		msg += fmt.Sprintf(" (did you mean %s?)", either(e.Near))
	}
	return msg + "; looked in " + strings.Join(e.Looked, ", ")
}

// Find says which profile a word on the command line means: "-" is standard
// input, a word with a slash or ending in .toml a file or a directory with a
// .sbx.toml, "builtin:NAME" and "user:NAME" what they say. Any other word is a
// name, looked up among the user's profiles, the administrator's, and the
// built-in ones. An unknown name is a *NotFoundError.
func Find(ref string, e Env) (Ref, error) {
	if ref == "-" {
		return Ref{Path: "-"}, nil
	}
	if name, ok := strings.CutPrefix(ref, "builtin:"); ok {
		if findBuiltin(name) != nil {
			return Ref{Builtin: name}, nil
		}
		return Ref{}, notFound(name, e, "builtin:")
	}
	if name, ok := strings.CutPrefix(ref, "user:"); ok {
		return findNamed(name, e, "user:")
	}
	if strings.Contains(ref, "/") || strings.HasSuffix(ref, ".toml") || ref == "." || ref == ".." {
		return findFile(ref, e)
	}
	return findNamed(ref, e, "")
}

// Default is the profile where none is named and no project has one: the
// user's "default" if there is one, else the built-in "build".
func Default(e Env) (Ref, error) {
	ref, ok, err := e.lookIn([]string{e.userDir()}, "default")
	if ok || err != nil {
		return ref, err
	}
	return Ref{Builtin: "build"}, nil
}

func findFile(ref string, e Env) (Ref, error) {
	path := ref
	if rest, ok := strings.CutPrefix(ref, "~/"); ok && e.Home != "" {
		path = filepath.Join(e.Home, rest)
	}
	if !filepath.IsAbs(path) {
		if e.Cwd == "" {
			return Ref{}, fmt.Errorf("%s: the current directory is not known, write an absolute path", ref)
		}
		path = filepath.Join(e.Cwd, path)
	}
	st, err := e.Seen.Stat(path)
	if err == nil && st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		path = filepath.Join(path, ProjectFile)
		_, err = e.Seen.Stat(path)
	}
	if err != nil {
		return Ref{}, fmt.Errorf("reading profile %s: %w", path, bare(err))
	}
	return Ref{Path: filepath.Clean(path)}, nil
}

// findNamed looks up a bare name; with only = "user:" among the user's alone.
func findNamed(name string, e Env, only string) (Ref, error) {
	if !validName(name) {
		return Ref{}, notFound(name, e, only)
	}
	dirs := []string{e.userDir()}
	if only == "" {
		dirs = append(dirs, e.systemDir())
	}
	if ref, ok, err := e.lookIn(dirs, name); ok || err != nil {
		return ref, err
	}
	if only == "" && findBuiltin(name) != nil {
		return Ref{Builtin: name}, nil
	}
	return Ref{}, notFound(name, e, only)
}

// lookIn finds the file of a profile in the first of dirs that has it.
func (e Env) lookIn(dirs []string, name string) (ref Ref, ok bool, err error) {
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		path := filepath.Join(dir, name+".toml")
		switch _, err := e.Seen.Stat(path); {
		case err == nil:
			return Ref{Path: path}, true, nil
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
			// Going on would run another profile of that name.
			return Ref{}, false, fmt.Errorf("reading profile %s: %w", path, bare(err))
		}
	}
	return Ref{}, false, nil
}

func notFound(name string, e Env, only string) error {
	err := &NotFoundError{Name: only + name}
	var known []string
	for _, info := range List(e) {
		if only == "" || strings.HasPrefix(info.Ref.String(), only) || only == "user:" && filepath.Dir(info.Ref.Path) == e.userDir() {
			known = append(known, info.Name)
		}
	}
	if near := nearest(name, known); near != "" {
		err.Near = []string{only + near}
	}
	if only != "builtin:" && e.userDir() != "" {
		err.Looked = append(err.Looked, e.userDir())
	}
	if only == "" {
		err.Looked = append(err.Looked, e.systemDir())
	}
	if only != "user:" {
		err.Looked = append(err.Looked, "the built-in profiles "+strings.Join(builtinNames(), ", "))
	}
	return err
}

// bare takes path and operation off an error whose message names them already.
func bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// Discover walks up from cwd to the first .sbx.toml that is the user's or root's. It
// stops at the home directory and at another file system. Whose directory it is, and who
// may write there, says nothing: a command could change that, and what somebody else
// puts there is not used.
func Discover(cwd string, e Env) (path string, ok bool, err error) {
	dir := filepath.Clean(cwd)
	for first, dev := true, uint64(0); filepath.IsAbs(dir) && dir != e.Home; first, dir = false, filepath.Dir(dir) {
		st, err := e.Seen.Stat(dir)
		if err != nil {
			return "", false, fmt.Errorf("looking for %s in %s: %w", ProjectFile, dir, err)
		}
		if !first && uint64(st.Dev) != dev {
			return "", false, nil
		}
		dev = uint64(st.Dev)
		file := filepath.Join(dir, ProjectFile)
		switch st, err := e.Seen.Lstat(file); {
		case err == nil:
			if int(st.Uid) == e.UID || st.Uid == 0 {
				return file, true, nil
			}
		case !errors.Is(err, fs.ErrNotExist):
			return "", false, fmt.Errorf("looking for %s in %s: %w", ProjectFile, dir, err)
		}
		if dir == "/" {
			break
		}
	}
	return "", false, nil
}

// Info is one line of a list of profiles.
type Info struct {
	Name        string
	Ref         Ref
	Description string // "" also where the file can't be read
}

// List returns the profiles that a bare name can mean, sorted by name; of a
// name that is there twice, the one that Find takes.
func List(e Env) []Info {
	var list []Info
	add := func(info Info) {
		if !slices.ContainsFunc(list, func(i Info) bool { return i.Name == info.Name }) {
			list = append(list, info)
		}
	}
	for _, dir := range []string{e.userDir(), e.systemDir()} {
		if dir == "" {
			continue
		}
		entries, _ := os.ReadDir(dir) // a directory that is not there has no profiles
		for _, entry := range entries {
			name, ok := strings.CutSuffix(entry.Name(), ".toml")
			if !ok || !validName(name) {
				continue
			}
			ref := Ref{Path: filepath.Join(dir, entry.Name())}
			add(Info{Name: name, Ref: ref, Description: e.describe(ref)})
		}
	}
	for i := range builtins {
		l := builtinLayer(&builtins[i])
		add(Info{Name: builtins[i].name, Ref: Ref{Builtin: builtins[i].name}, Description: l.own("description")})
	}
	slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// describe reads the description of a file without loading what it extends.
func (e Env) describe(ref Ref) string {
	l := &layer{name: ref.Path, path: ref.Path}
	text, err := e.readFile(ref.Path)
	if err != nil {
		return ""
	}
	l.text = text
	l.decode()
	return l.own("description")
}

// readFile reads a file of bounded size, which is no directory, with bare
// system calls: package os would first set up the runtime's poller, which a
// short run has no use for.
func (e Env) readFile(path string) (string, error) {
	fd, err := e.Seen.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK) // a FIFO must not hang us
	if err != nil {
		return "", err
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return "", err
	}
	if st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		return "", syscall.EISDIR
	}
	return readAll(descriptor(fd))
}

// descriptor is an io.Reader of an open file.
type descriptor int

func (d descriptor) Read(b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(d), b)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, err
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func readAll(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return "", bare(err)
	}
	if len(text) > maxFile {
		return "", errors.New("larger than 1 MiB, which no profile is")
	}
	return string(text), nil
}
