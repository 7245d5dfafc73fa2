package cgroup

import "time"

// What sbx and sbx-scope, which talks to the user's systemd, say to each other:
// one JSON object each way, on standard input and output.

// ScopeProtocol is the version of both.
const ScopeProtocol = 1

// ScopeRequest asks for a delegated scope.
type ScopeRequest struct {
	Protocol int    `json:"protocol"`
	Socket   string `json:"socket"` // of the user's systemd itself, $XDG_RUNTIME_DIR/systemd/private
	Unit     string `json:"unit"`   // "sbx-ID.scope"
	// Update changes the limits of the scope, which is there; PIDs[0] is in it.
	Update      bool   `json:"update,omitempty"`
	Slice       string `json:"slice"` // "sbx.slice"
	Description string `json:"description"`
	// PIDs are moved into the scope. It is gone when it has no process.
	PIDs   []int  `json:"pids"`
	Limits Limits `json:"limits"`
	// Patience bounds the whole.
	Patience time.Duration `json:"patience"`
}

// ScopeAnswer says how it went.
type ScopeAnswer struct {
	Protocol int    `json:"protocol"`
	Cgroup   string `json:"cgroup,omitempty"` // below the root of the hierarchy
	Error    string `json:"error,omitempty"`
}
