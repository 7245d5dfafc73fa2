// Package state is what is known of sandboxes outside of them: a directory for
// each in the caller's runtime directory, with a record that its supervisor
// writes and every other sbx reads. There is no daemon: whoever reads finds out
// itself whether the supervisor still lives, and cleans up after one that died.
//
// The base is $XDG_RUNTIME_DIR/sbx, or /tmp/sbx-UID where there is none. Below
// it lie ID/ for each sandbox and names/NAME, a symbolic link to ../ID, which is
// what makes a name unique. All of it ends with the session or the reboot.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Version is the version of the record's form. An older sbx refuses records of
// a newer one.
const Version = 1

// Status is where a sandbox is in its life.
type Status string

// The states of a sandbox.
const (
	Starting Status = "starting" // being built; the command does not run yet
	Running  Status = "running"
	Paused   Status = "paused"
	Exited   Status = "exited"
)

// Record is what is kept of a sandbox.
type Record struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Name    string `json:"name"`
	Status  Status `json:"status"`

	Profile string   `json:"profile"`         // its name
	Files   []string `json:"files,omitempty"` // the profile's files
	Command []string `json:"command"`
	Dir     string   `json:"dir,omitempty"` // the host's directory it was started in
	// Network is its network: "none", "user", "host", "sandbox:NAME" or
	// "network:NAME,NAME".
	Network string `json:"network,omitempty"`

	Supervisor Process `json:"supervisor"`
	Init       Process `json:"init"`
	// Boot is the kernel's boot id, PIDNS the inode of the PID namespace that the
	// pids are of.
	Boot  string `json:"boot"`
	PIDNS uint64 `json:"pidns"`

	Created  time.Time `json:"created"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	ExitCode int       `json:"exit_code"`
	// OOMKilled says that processes were killed since limits.memory was reached, as
	// long as the command runs, or the last time that it ran.
	OOMKilled bool   `json:"oom_killed,omitempty"`
	Error     string `json:"error,omitempty"` // why it ended, if not by the command
	Restarts  int    `json:"restarts,omitempty"`

	// Socket says that the supervisor listens on its control socket. Unrecorded
	// is of a sandbox that has no record: see Summon.
	Socket     bool `json:"socket"`
	Unrecorded bool `json:"-"`

	Detached bool              `json:"detached"`
	Keep     bool              `json:"keep"` // the record stays when the command has ended
	Labels   map[string]string `json:"labels,omitempty"`
	// Health is what the checks say, nil where there are none.
	Health *Health `json:"health,omitempty"`
	// Grants are the mounts that came while it runs.
	Grants []Grant `json:"grants,omitempty"`
	// Project is set of the sandbox that a project has for all day.
	Project *Project `json:"project,omitempty"`
	// StopSignal and StopTimeout are those of the profile.
	StopSignal  int           `json:"stop_signal"`
	StopTimeout time.Duration `json:"stop_timeout"`
}

// Health is how the checks of a sandbox go.
type Health struct {
	Status  HealthStatus `json:"status"`
	Failing int          `json:"failing_streak"` // failures in a row
	Checks  int          `json:"checks"`         // how many there were
	Code    int          `json:"exit_code"`      // of the last
	Ended   time.Time    `json:"ended,omitzero"`
}

// HealthStatus is docker's word for it.
type HealthStatus string

// The states of health.
const (
	HealthStarting HealthStatus = "starting"
	Healthy        HealthStatus = "healthy"
	Unhealthy      HealthStatus = "unhealthy"
)

// Grant is a mount that sbx grant has put in a sandbox.
type Grant struct {
	Target  string    `json:"target"`
	Source  string    `json:"source"`
	Access  string    `json:"access"` // "ro" or "rw"
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires,omitzero"` // zero: when it is revoked
}

// Project is what others must know of a project's sandbox to run commands in it
// without reading its profile again.
type Project struct {
	Dir string `json:"dir"`           // of the project
	Ref string `json:"ref,omitempty"` // the profile that was named, "" for the project's own
	// Hash is of the profile's files, Trusted that the caller had agreed to them.
	Hash    string `json:"hash,omitempty"`
	Trusted bool   `json:"trusted,omitempty"`
	// Pass and Unset are the profile's rules for the caller's variables, Fixed the
	// names of those that it sets itself.
	Pass  []string `json:"pass,omitempty"`
	Unset []string `json:"unset,omitempty"`
	Fixed []string `json:"fixed,omitempty"`
	// Idle is after how long without a command the sandbox ends, 0 for never.
	Idle time.Duration `json:"idle,omitempty"`
}

// Alive says whether the sandbox has not ended, as far as the record knows.
func (r *Record) Alive() bool { return r.Status != Exited }

// Process is a process that a record means: its number and when it began, which
// together no other process of the same boot has.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, proc_pid_stat(5)
}

// The files of a sandbox's directory.
const (
	recordFile = "state.json"
	// pendingFile is what one is until it is whole, with a dot and a number of its
	// own after it; before, there was one for all.
	pendingFile = "state.json.new"
	// PlanFile holds the Plan, for inspect.
	PlanFile = "plan.json"
	// RefusedFile holds the system calls that were refused, once it has ended.
	RefusedFile = "refused.json"
	// SocketFile is the supervisor's control socket.
	SocketFile = "control.sock"
	// LogFile holds the command's output, LogFile + ".1" what came before it.
	LogFile = "output.log"
	// NetSocketFile is where the network's helper is controlled.
	NetSocketFile = "net.sock"
)

// own are all files that a sandbox's directory may hold; nothing else is ever
// removed.
var own = []string{recordFile, pendingFile, PlanFile, RefusedFile, SocketFile, LogFile, LogFile + ".1", NetSocketFile}

// parse reads a record.
func parse(text []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, err
	}
	if r.Version > Version {
		return Record{}, fmt.Errorf("version %d was written by a newer sbx; this one knows up to %d", r.Version, Version)
	}
	if r.Version < 1 || !ValidID(r.ID) {
		return Record{}, errors.New("it is no record of a sandbox")
	}
	return r, nil
}

// ValidID says whether s has the form of an id: twelve hexadecimal digits.
func ValidID(s string) bool {
	if len(s) != IDLength {
		return false
	}
	return hex(s)
}

func hex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// IDLength is how many digits an id has.
const IDLength = 12

// NewID makes an id. The kernel's random numbers make two equal ones among
// thousands unlikely; making the directory finds out.
func NewID() (string, error) {
	var b [IDLength / 2]byte
	if _, err := unix.Getrandom(b[:], 0); err != nil {
		return "", fmt.Errorf("making an id: %w", err)
	}
	const digits = "0123456789abcdef"
	var id [IDLength]byte
	for i, v := range b {
		id[2*i], id[2*i+1] = digits[v>>4], digits[v&15]
	}
	return string(id[:]), nil
}

// CheckName says what is wrong with a sandbox's name, if anything is. Names are
// those of podman: they are file names and never options.
func CheckName(name string) error {
	const most = 64
	if name == "" || len(name) > most {
		return fmt.Errorf("a name has 1 to %d characters", most)
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '.' && c != '-') {
			return fmt.Errorf("%q: a name is of letters, digits, and after the first of those _ . -", name)
		}
	}
	return nil
}
