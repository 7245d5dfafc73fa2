package profiles

import (
	"embed"
	"fmt"
	"slices"
)

//go:generate go run ./gen

// builtin is a profile that is compiled in, already decoded: the hot path
// parses no TOML for it. The tables are generated from builtin/*.toml.
type builtin struct {
	name     string
	extends  []string
	settings []setting
	phases   []builtinPhase
}

// builtinPhase is one table [[phase]] of a built-in.
type builtinPhase struct {
	name     string
	settings []setting
}

// builtinFiles are the sources of the tables, for positions and for people.
//
//go:embed builtin/*.toml
var builtinFiles embed.FS

// findBuiltin returns a built-in profile, or nil.
func findBuiltin(name string) *builtin {
	for i := range builtins {
		if builtins[i].name == name {
			return &builtins[i]
		}
	}
	return nil
}

// builtinNames are the names of the built-in profiles, sorted.
func builtinNames() []string {
	names := make([]string, len(builtins))
	for i := range builtins {
		names[i] = builtins[i].name
	}
	slices.Sort(names)
	return names
}

// builtinLayer presents a built-in as a decoded file.
func builtinLayer(b *builtin) *layer {
	l := &layer{name: "builtin:" + b.name, stem: b.name, extends: b.extends, hasExtends: true, settings: b.settings, decoded: true}
	for i, p := range b.phases {
		l.phases = append(l.phases, &layer{name: l.name, stem: l.stem, base: l, inner: fmt.Sprintf("phase[%d]", i), phase: p.name, settings: p.settings, decoded: true})
	}
	return l
}

// Source returns the text of a built-in profile; ok is false if there is none
// of that name.
func Source(name string) (text string, ok bool) {
	data, err := builtinFiles.ReadFile("builtin/" + name + ".toml")
	return string(data), err == nil
}
