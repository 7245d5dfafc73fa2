package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sbx-sandbox/sbx/profiles"
)

// mountFlag is a flag that makes one mount.
type mountFlag struct {
	flagSpec
	parse func(string) ([]profiles.Override, error)
}

func mountFlags() []mountFlag {
	return []mountFlag{
		{flagSpec{name: "volume", short: "v", arg: "SRC[:DST][:OPT]", group: gFiles, usage: "show a file or directory; OPT: ro (default), rw, noexec, optional", words: []string{"@file"}}, parseVolume},
		{flagSpec{name: "mount", arg: "type=T,...", group: gFiles, usage: "the same in words: type=bind, tmpfs, file, symlink or mask; source=, target=, ro, rw, noexec, dev, optional, content=, mode=, size=",
			words: []string{"type=bind,source=", "type=tmpfs,target=", "type=file,target=", "type=symlink,source=", "type=mask,target="}}, parseMount},
		{flagSpec{name: "tmpfs", arg: "DST[:OPT]", group: gFiles, usage: "memory at DST; OPT: size=64M,mode=0755,ro,noexec", words: []string{"@dir"}}, parseTmpfs},
	}
}

// mountKeys collects what one flag says of one mount. A mount is replaced
// whole: nothing is inherited from the profile's mount of the same target.
type mountKeys struct {
	flag, target string
	list         []profiles.Override
}

func (m *mountKeys) set(key, value string) {
	m.list = append(m.list, profiles.Override{
		Key: "mounts." + strconv.Quote(profiles.Verbatim(m.target)) + "." + key, Value: value, Flag: m.flag})
}

// parseVolume reads SRC[:DST][:OPTION,...].
func parseVolume(s string) ([]profiles.Override, error) {
	parts := strings.Split(s, ":")
	src, dst, opts := parts[0], "", ""
	rest := parts[1:]
	if len(rest) > 0 && strings.ContainsAny(rest[0][:min(1, len(rest[0]))], "/~") {
		dst, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		opts = rest[0]
	}
	switch {
	case src == "":
		return nil, fmt.Errorf("%q has no source, write SRC[:DST][:ro|rw]", s)
	case len(rest) > 1:
		return nil, fmt.Errorf("%q has too many colons; for a path with one use --mount", s)
	case !strings.ContainsAny(src, "/~") && src != "." && src != "..":
		return nil, fmt.Errorf("%q is not a path; there are no named volumes, write ./%s", src, src)
	}
	if dst == "" {
		dst = src
	}
	dst, err := absolute(dst)
	if err != nil {
		return nil, err
	}
	access, exec, optional := "ro", "true", "false"
	for opt := range strings.SplitSeq(opts, ",") {
		switch opt {
		case "":
			if len(rest) > 0 {
				return nil, fmt.Errorf("%q has an empty option, use ro, rw, noexec or optional", s)
			}
		case "ro", "rw":
			access = opt
		case "noexec":
			exec = "false"
		case "optional":
			optional = "true"
		default:
			return nil, fmt.Errorf("unknown option %q, use ro, rw, noexec or optional", opt)
		}
	}
	m := mountKeys{flag: "--volume", target: dst}
	m.set("type", "bind")
	m.set("source", profiles.Verbatim(src))
	m.set("access", access)
	m.set("exec", exec)
	m.set("optional", optional)
	m.set("dev", "false")
	return m.list, nil
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
	m := mountKeys{flag: "--tmpfs", target: dst}
	m.set("type", "tmpfs")
	access, exec := "rw", "true"
	for opt := range strings.SplitSeq(opts, ",") {
		key, value, valued := strings.Cut(opt, "=")
		switch {
		case key == "" && opts == "":
		case key == "size" && valued, key == "mode" && valued:
			m.set(key, value)
		case key == "nr_inodes" && valued:
			m.set("inodes", value)
		case opt == "ro", opt == "rw":
			access = opt
		case opt == "exec", opt == "noexec":
			exec = strconv.FormatBool(opt == "exec")
		default:
			return nil, fmt.Errorf("unknown option %q, use size=, mode=, nr_inodes=, ro, rw, exec or noexec", opt)
		}
	}
	m.set("access", access)
	m.set("exec", exec)
	return m.list, nil
}

// mountFields are the words of --mount and the keys they stand for.
var mountFields = []struct {
	name, key, bare string // bare is the value without "="; "" = it needs one
}{
	{"type", "type", ""}, {"source", "source", ""}, {"src", "source", ""},
	{"target", "target", ""}, {"dst", "target", ""}, {"destination", "target", ""},
	{"ro", "access", "ro"}, {"readonly", "access", "ro"}, {"rw", "access", "rw"},
	{"exec", "exec", "true"}, {"noexec", "exec", "false"}, {"dev", "dev", "true"}, {"optional", "optional", "true"},
	{"content", "content", ""}, {"mode", "mode", ""}, {"tmpfs-mode", "mode", ""},
	{"size", "size", ""}, {"tmpfs-size", "size", ""}, {"inodes", "inodes", ""},
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
	m := mountKeys{flag: "--mount", target: got["target"]}
	if m.target == "" && got["type"] == "bind" {
		m.target = got["source"]
	}
	if m.target == "" {
		return nil, errors.New("no target, add target=/PATH")
	}
	if got["type"] == "bind" || got["type"] == "symlink" {
		if got["source"] == "" {
			return nil, fmt.Errorf("type=%s needs a source, add source=PATH", got["type"])
		}
	}
	if got["type"] == "bind" {
		if m.target, err = absolute(m.target); err != nil {
			return nil, err
		}
		for _, d := range [][2]string{{"access", "ro"}, {"exec", "true"}, {"dev", "false"}, {"optional", "false"}} {
			if _, ok := got[d[0]]; !ok {
				got[d[0]] = d[1]
			}
		}
	}
	m.set("type", got["type"])
	for _, key := range []string{"source", "access", "exec", "dev", "optional", "content", "mode", "size", "inodes"} {
		if v, ok := got[key]; ok {
			if key == "source" {
				v = profiles.Verbatim(v)
			}
			m.set(key, v)
		}
	}
	return m.list, nil
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
		return fmt.Errorf("unknown word %q%s, use type=, source=, target=, ro, rw, noexec, dev, optional, content=, mode=, size= or inodes=", name, meant(name, names))
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
