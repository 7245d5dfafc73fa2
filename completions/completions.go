// Package completions holds scripts for shells: those that complete sbx's
// command line, which ask `sbx __complete` for the candidates, and those that
// go into a project's sandbox, which ask `sbx hook state`.
package completions

import _ "embed" // for the scripts

// Shells are those that have scripts.
var Shells = []string{"bash", "zsh", "fish"}

//go:embed sbx.bash
var bash string

//go:embed _sbx
var zsh string

//go:embed sbx.fish
var fish string

// Script is the script for a shell, "" if there is none.
func Script(shell string) string {
	switch shell {
	case "bash":
		return bash
	case "zsh":
		return zsh
	case "fish":
		return fish
	}
	return ""
}

//go:embed hook.bash
var hookBash string

//go:embed hook.zsh
var hookZsh string

//go:embed hook.fish
var hookFish string

// Hook is the script for a shell that goes into projects' sandboxes, "" if
// there is none.
func Hook(shell string) string {
	switch shell {
	case "bash":
		return hookBash
	case "zsh":
		return hookZsh
	case "fish":
		return hookFish
	}
	return ""
}
