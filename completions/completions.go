// Package completions holds the scripts that complete sbx's command line in
// shells. They ask `sbx __complete` for the candidates.
package completions

import _ "embed" // for the scripts

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
