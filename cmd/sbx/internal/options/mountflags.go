package options

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/profiles"
)

// mountFlag is a flag that makes one mount.
type mountFlag struct {
	cli.Flag
	parse func(string) ([]profiles.Override, error)
}

func mountFlags() []mountFlag {
	return []mountFlag{
		{cli.Flag{Name: "volume", Short: "v", Arg: "SRC[:DST][:OPT]", Group: cli.GroupFiles, Usage: "show a file or directory, or a named volume; OPT: ro (default of paths), rw (of volumes), overlay or O, noexec, optional, grantable", Words: []string{"@file"}}, parseVolume},
		{cli.Flag{Name: "mount", Arg: "type=T,...", Group: cli.GroupFiles, Usage: "the same in words: type=bind, tmpfs, file, symlink, mask, overlay or volume; source=, target=, ro, rw, noexec, dev, optional, grantable, content=, mode=, upper=, size=",
			Words: []string{"type=bind,source=", "type=overlay,source=", "type=volume,source=", "type=tmpfs,target=", "type=file,target=", "type=symlink,source=", "type=mask,target="}}, parseMount},
		{cli.Flag{Name: "tmpfs", Arg: "DST[:OPT]", Group: cli.GroupFiles, Usage: "memory at DST; OPT: size=64M,mode=0755,ro,noexec", Words: []string{"@dir"}}, parseTmpfs},
	}
}

// MountKeys collects what one flag says of one mount. A mount is replaced
// whole: nothing is inherited from the profile's mount of the same target.
type MountKeys struct {
	Flag, Target string
	List         []profiles.Override
}

// Set gives a key of the mount a value.
func (m *MountKeys) Set(key, value string) {
	m.List = append(m.List, profiles.Override{
		Key: "mounts." + strconv.Quote(profiles.Verbatim(m.Target)) + "." + key, Value: value, Flag: m.Flag})
}

// volumeOptions are the last part of --volume.
type volumeOptions struct{ access, exec, optional, grantable string }

// parseVolumeOptions reads OPTION,...; "" is none.
func parseVolumeOptions(s string) (volumeOptions, error) {
	o := volumeOptions{exec: "true", optional: "false", grantable: "false"}
	if s == "" {
		return o, nil
	}
	const known = "use ro, rw, overlay, noexec, optional or grantable"
	for opt := range strings.SplitSeq(s, ",") {
		switch opt {
		case "":
			return o, fmt.Errorf("%q has an empty option, %s", s, known)
		case "ro", "rw", "overlay":
			o.access = opt
		case "O": // podman's
			o.access = "overlay"
		case "noexec":
			o.exec = "false"
		case "optional":
			o.optional = "true"
		case "grantable":
			o.grantable = "true"
		case "z", "Z":
			return o, fmt.Errorf("%s: sbx gives files no labels of SELinux's, leave it out", opt)
		default:
			return o, fmt.Errorf("unknown option %q, %s", opt, known)
		}
	}
	return o, nil
}

// parseVolume reads SRC[:DST][:OPTION,...].
func parseVolume(s string) ([]profiles.Override, error) {
	parts := strings.Split(s, ":")
	src, dst, rest := parts[0], "", parts[1:]
	if len(rest) > 0 && strings.ContainsAny(rest[0][:min(1, len(rest[0]))], "/~") {
		dst, rest = rest[0], rest[1:]
	}
	named := !strings.ContainsAny(src, "/~") && src != "." && src != ".."
	switch {
	case src == "":
		return nil, fmt.Errorf("%q has no source, write SRC[:DST][:ro|rw]", s)
	case len(rest) > 1:
		return nil, fmt.Errorf("%q has too many colons; for a path with one use --mount", s)
	case len(rest) == 1 && rest[0] == "":
		return nil, fmt.Errorf("%q ends in a colon without an option", s)
	case named && dst == "":
		return nil, fmt.Errorf("%q is the name of a volume and needs a target, write %s:/DST; for a path write ./%s", src, src, src)
	}
	o, err := parseVolumeOptions(strings.Join(rest, ""))
	if err != nil {
		return nil, err
	}
	if dst, err = absolute(cmp.Or(dst, src)); err != nil {
		return nil, err
	}
	m := MountKeys{Flag: "--volume", Target: dst}
	typ := "bind"
	switch {
	case named && o.optional == "true":
		return nil, errors.New("optional is for paths: a volume is made when there is none")
	case o.grantable == "true" && (named || o.access == "overlay"):
		return nil, errors.New("grantable is for paths as they are, not for volumes and overlays")
	case named:
		typ, o.access = "volume", cmp.Or(o.access, "rw")
	case o.access == "overlay":
		typ, o.access = "overlay", ""
	default:
		o.access = cmp.Or(o.access, "ro")
	}
	for _, k := range []struct{ types, key, value string }{
		{"bind volume overlay", "type", typ}, {"bind volume overlay", "source", profiles.Verbatim(src)}, {"bind volume", "access", o.access},
		{"bind volume overlay", "exec", o.exec}, {"bind overlay", "optional", o.optional}, {"bind", "grantable", o.grantable}, {"bind", "dev", "false"},
		{"overlay", "upper", "disk"}, {"overlay", "size", "0"},
	} {
		if strings.Contains(k.types, typ) {
			m.Set(k.key, k.value)
		}
	}
	return m.List, nil
}

// absolute is a target on the command line: relative to the current directory,
// without a slash at its end.
func absolute(dst string) (string, error) {
	if strings.HasPrefix(dst, "~/") {
		return strings.TrimRight(dst, "/"), nil
	}
	return filepath.Abs(dst)
}

// parseTmpfs reads DST[:OPTION,...].
func parseTmpfs(s string) ([]profiles.Override, error) {
	dst, opts, _ := strings.Cut(s, ":")
	if dst == "" || dst[0] != '/' && dst[0] != '~' {
		return nil, fmt.Errorf("target %q is not absolute, begin it with \"/\"", dst)
	}
	dst, err := absolute(dst)
	if err != nil {
		return nil, err
	}
	m := MountKeys{Flag: "--tmpfs", Target: dst}
	m.Set("type", "tmpfs")
	access, exec := "rw", "true"
	for opt := range strings.SplitSeq(opts, ",") {
		key, value, valued := strings.Cut(opt, "=")
		switch {
		case key == "" && opts == "":
		case key == "size" && valued, key == "mode" && valued:
			m.Set(key, value)
		case key == "nr_inodes" && valued:
			m.Set("inodes", value)
		case opt == "ro", opt == "rw":
			access = opt
		case opt == "exec", opt == "noexec":
			exec = strconv.FormatBool(opt == "exec")
		default:
			return nil, fmt.Errorf("unknown option %q, use size=, mode=, nr_inodes=, ro, rw, exec or noexec", opt)
		}
	}
	m.Set("access", access)
	m.Set("exec", exec)
	return m.List, nil
}

// mountFields are the words of --mount and the keys they stand for.
var mountFields = []struct {
	name, key, bare string // bare is the value without "="; "" = it needs one
}{
	{"type", "type", ""}, {"source", "source", ""}, {"src", "source", ""},
	{"target", "target", ""}, {"dst", "target", ""}, {"destination", "target", ""},
	{"ro", "access", "ro"}, {"readonly", "access", "ro"}, {"rw", "access", "rw"},
	{"exec", "exec", "true"}, {"noexec", "exec", "false"}, {"dev", "dev", "true"}, {"optional", "optional", "true"}, {"grantable", "grantable", "true"},
	{"content", "content", ""}, {"mode", "mode", ""}, {"tmpfs-mode", "mode", ""},
	{"upper", "upper", ""}, {"size", "size", ""}, {"tmpfs-size", "size", ""}, {"inodes", "inodes", ""},
}

// parseMount reads podman's list of words with commas; a word with a comma is
// quoted as in CSV.
func parseMount(s string) ([]profiles.Override, error) {
	words, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil || len(words) == 0 {
		return nil, fmt.Errorf("%q is not a list such as type=bind,source=/srv,target=/data,ro", s)
	}
	got := map[string]string{"type": "bind"}
	for _, w := range words {
		if err := mountWord(got, w); err != nil {
			return nil, err
		}
	}
	m := MountKeys{Flag: "--mount", Target: got["target"]}
	paths := got["type"] == "bind" || got["type"] == "overlay"
	if m.Target == "" && paths {
		m.Target = got["source"]
	}
	if m.Target == "" {
		return nil, errors.New("no target, add target=/PATH")
	}
	if paths || got["type"] == "symlink" || got["type"] == "volume" {
		if got["source"] == "" {
			what := "PATH"
			if got["type"] == "volume" {
				what = "NAME"
			}
			return nil, fmt.Errorf("type=%s needs a source, add source=%s", got["type"], what)
		}
	}
	if paths {
		if m.Target, err = absolute(m.Target); err != nil {
			return nil, err
		}
		defaults := map[string]string{"access": "ro", "exec": "true", "dev": "false", "optional": "false", "grantable": "false"}
		if got["type"] == "overlay" {
			defaults = map[string]string{"exec": "true", "optional": "false", "upper": "disk"}
		}
		maps.Copy(defaults, got)
		got = defaults
	}
	m.Set("type", got["type"])
	for _, key := range []string{"source", "access", "exec", "dev", "optional", "grantable", "content", "mode", "upper", "size", "inodes"} {
		if v, ok := got[key]; ok {
			if key == "source" {
				v = profiles.Verbatim(v)
			}
			m.Set(key, v)
		}
	}
	return m.List, nil
}

// mountWord takes one word of --mount.
func mountWord(got map[string]string, w string) error {
	name, value, valued := strings.Cut(w, "=")
	i := slices.IndexFunc(mountFields, func(f struct{ name, key, bare string }) bool { return f.name == name })
	if i < 0 {
		var names []string
		for _, f := range mountFields {
			names = append(names, f.name)
		}
		return fmt.Errorf("unknown word %q%s, use type=, source=, target=, ro, rw, noexec, dev, optional, grantable, content=, mode=, upper=, size= or inodes=", name, cli.Meant(name, names))
	}
	f := mountFields[i]
	switch {
	case f.bare == "" && !valued:
		return fmt.Errorf("%s needs a value, write %s=VALUE", name, name)
	case f.bare == "":
		got[f.key] = value
	case !valued || value == "true":
		got[f.key] = f.bare
	case value != "false":
		return fmt.Errorf("%s must be true or false, not %q", name, value)
	default: // the opposite
		got[f.key] = map[string]string{"ro": "rw", "rw": "ro", "true": "false", "false": "true"}[f.bare]
	}
	return nil
}
