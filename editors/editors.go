// Package editors holds what editors are told to have their terminals and language
// servers in a project's sandbox, as text. Beside it lie plug-ins, which are no Go.
package editors

import _ "embed" // for the settings

// Settings are those of one editor.
type Settings struct {
	Editor string
	// Path is where they go, below the project's directory; "" where only the
	// person's own settings can hold them.
	Path string
	Text string
}

//go:embed settings/vscode.json
var vscode string

//go:embed settings/nvim.lua
var nvim string

//go:embed settings/helix.toml
var helix string

//go:embed settings/emacs.el
var emacs string

//go:embed settings/zed.json
var zed string

// All are the editors that there are settings for.
func All() []Settings {
	return []Settings{
		{"vscode", ".vscode/settings.json", vscode},
		{"nvim", ".nvim.lua", nvim},
		{"helix", ".helix/languages.toml", helix},
		{"emacs", "", emacs},
		{"zed", ".zed/settings.json", zed},
	}
}
