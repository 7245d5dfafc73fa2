package profiles

import (
	"embed"
	"slices"
)

//go:generate go run ./gen

// builtin is a profile that is compiled in, already decoded: the hot path
// parses no TOML for it. The tables are generated from builtin/*.toml.
type builtin struct {
	name     string
	extends  []string
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
	return &layer{name: "builtin:" + b.name, stem: b.name, extends: b.extends, hasExtends: true, settings: b.settings, decoded: true}
}

// Source returns the text of a built-in profile; ok is false if there is none
// of that name.
func Source(name string) (text string, ok bool) {
	data, err := builtinFiles.ReadFile("builtin/" + name + ".toml")
	return string(data), err == nil
}
