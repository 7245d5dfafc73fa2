// Package networks keeps the records of named networks, and finds or starts the
// holder of one that is in use (package slirp says how it is spoken to).
package networks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Version is that of a Record.
const Version = 1

// Record is a named network.
type Record struct {
	Version int          `json:"version"`
	Name    string       `json:"name"`
	IPv4    netip.Prefix `json:"ipv4"`
	IPv6    netip.Prefix `json:"ipv6"`
	// Internal says that nothing leads out for its members, but by other networks
	// that they are in.
	Internal bool `json:"internal,omitempty"`
	// Isolated says that members reach none but those called by a name of Hubs.
	Isolated bool      `json:"isolated,omitempty"`
	Hubs     []string  `json:"hubs,omitempty"`
	Created  time.Time `json:"created"`
}

// Store is where networks are kept.
type Store struct {
	Dir     string // of the records
	Runtime string // of the sockets of those in use
}

// NotFoundError is a name that no network has.
type NotFoundError struct{ Name string }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("no network is called %s; sbx network ls lists them, and sbx network create %s makes it", e.Name, e.Name)
}

const suffix = ".json"

func (s Store) path(name string) string { return filepath.Join(s.Dir, name+suffix) }

// socketPrefix is how the names of sockets begin.
const socketPrefix = "network-"

// Socket is the path of a network's socket, whether it is there or not.
func (s Store) Socket(name string) string { return filepath.Join(s.Runtime, socketPrefix+name) }

// Sweep removes the sockets of holders that were killed at once with all who were in
// their networks. It passes over what somebody else looks after just then.
func (s Store) Sweep() {
	entries, err := os.ReadDir(s.Runtime)
	if err != nil {
		return
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), socketPrefix)
		if !ok || CheckName(name) != nil {
			continue
		}
		held, err := s.lockNow(name)
		if err != nil {
			continue
		}
		if c, _ := s.dial(name); c != nil { // else it is removed
			c.Close()
		}
		unix.Close(held)
	}
}

// CheckName says what is wrong with the name of a network.
func CheckName(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	if name == "" || len(name) > 64 || strings.Trim(name, letters+"._-") != "" || !strings.Contains(letters, name[:1]) {
		return fmt.Errorf("%q names no network: use up to 64 letters, digits, \".\", \"_\" and \"-\", beginning with a letter or digit", name)
	}
	return nil
}

// Load reads a record.
func (s Store) Load(name string) (Record, error) {
	var r Record
	if err := CheckName(name); err != nil {
		return r, err
	}
	text, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return r, &NotFoundError{name}
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	switch {
	case err != nil:
		return r, fmt.Errorf("reading the network %s: %w", name, err)
	case r.Version != Version || r.Name != name || !r.IPv4.IsValid():
		return r, fmt.Errorf("%s is no record of the network %s that this sbx can read", s.path(name), name)
	}
	return r, nil
}

// List reads all records, by name. What can't be read is said in the error, which
// comes beside the others.
func (s Store) List() ([]Record, error) {
	dir, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Record
	var errs []error
	for _, e := range dir {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || CheckName(name) != nil {
			continue
		}
		r, err := s.Load(name)
		var gone *NotFoundError
		switch {
		case err == nil:
			list = append(list, r)
		case !errors.As(err, &gone): // somebody removed it meanwhile
			errs = append(errs, err)
		}
	}
	return list, errors.Join(errs...)
}

// Create makes a network. Without a subnet it gets one that neither another
// network nor any of routes overlaps.
func (s Store) Create(r Record, routes []netip.Prefix) (Record, error) {
	if err := CheckName(r.Name); err != nil {
		return r, err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return r, err
	}
	held, err := lock(s.Dir, unix.LOCK_EX)
	if err != nil {
		return r, err
	}
	defer unix.Close(held)
	others, err := s.List()
	if err != nil {
		return r, err
	}
	if err := r.place(others, routes); err != nil {
		return r, err
	}
	r.Version, r.Created = Version, time.Now().UTC()
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return r, err
	}
	f, err := os.OpenFile(s.path(r.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return r, fmt.Errorf("there is a network %s already; sbx network inspect %s shows it", r.Name, r.Name)
	}
	if err != nil {
		return r, err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(s.path(r.Name)) // half of a record is none
	}
	return r, err
}

// Networks made without a subnet get one of these, as podman's do, and beside it a
// unique local one (RFC 4193) of the prefix that sbx uses.
var (
	pool4 = netip.MustParsePrefix("10.89.0.0/16")
	pool6 = netip.MustParseAddr("fd53:6278::")
)

// place checks the record's subnet, or chooses one.
func (r *Record) place(others []Record, routes []netip.Prefix) error {
	taken := func(p netip.Prefix) string {
		if i := slices.IndexFunc(others, func(o Record) bool { return o.IPv4.Overlaps(p) }); i >= 0 {
			return "the network " + others[i].Name + " has " + others[i].IPv4.String()
		}
		for _, route := range routes {
			if route.Bits() > 0 && route.Overlaps(p) {
				return "the host has a route to " + route.String()
			}
		}
		return ""
	}
	if r.IPv4.IsValid() {
		why := taken(r.IPv4)
		switch {
		case !r.IPv4.Addr().Is4() || !r.IPv4.Addr().IsPrivate():
			return fmt.Errorf("%s is no private subnet of IPv4 (RFC 1918)", r.IPv4)
		case r.IPv4.Bits() < 16 || r.IPv4.Bits() > 29:
			return fmt.Errorf("%s: a subnet has 16 to 29 bits of prefix, as 10.89.7.0/24 has 24", r.IPv4)
		case r.IPv4 != r.IPv4.Masked():
			return fmt.Errorf("%s is an address in a subnet; write %s", r.IPv4, r.IPv4.Masked())
		case r.IPv4.Overlaps(own4):
			return fmt.Errorf("%s is what each sandbox has for itself; choose another", r.IPv4)
		case why != "":
			return fmt.Errorf("%s is taken: %s", r.IPv4, why)
		}
	} else {
		a := pool4.Addr().As4()
		for n := range 256 {
			a[2] = byte(n)
			if p := netip.PrefixFrom(netip.AddrFrom4(a), 24); taken(p) == "" {
				r.IPv4 = p
				break
			}
		}
		if !r.IPv4.IsValid() {
			return fmt.Errorf("no subnet of %s is left; name one of your own with --subnet", pool4)
		}
	}
	six, four := pool6.As16(), r.IPv4.Addr().As4()
	copy(six[4:], four[:]) // which no other network begins with
	r.IPv6 = netip.PrefixFrom(netip.AddrFrom16(six), 64)
	return nil
}

// own4 is the subnet of a sandbox's own way out: slirp.Default4.
var own4 = netip.MustParsePrefix("10.0.2.0/24")

// Remove removes a network that nobody is in. Its holder ends a moment after the last
// member has, and needs the lock for that: it is waited for.
func (s Store) Remove(name string) error {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		busy, err := s.remove(name)
		if !busy || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("the network %s is being joined or left, for %s now; try again", name, patience)
		}
	}
}

// remove is one try; busy says that the network has a holder and no members.
func (s Store) remove(name string) (busy bool, err error) {
	if _, err := s.Load(name); err != nil {
		return false, err
	}
	held, err := s.lock(name)
	if err != nil {
		return false, err
	}
	defer unix.Close(held)
	c, err := s.dial(name)
	if err != nil {
		return false, err
	}
	if c == nil {
		return false, os.Remove(s.path(name))
	}
	defer c.Close()
	list, err := members(c)
	if err != nil || len(list) == 0 {
		return err == nil, err
	}
	return false, fmt.Errorf("the network %s is in use by %s; stop them first", name, names(list))
}

// lock locks a file or directory as long as the descriptor is open. how is LOCK_EX, or
// that with LOCK_NB, for which EWOULDBLOCK says that somebody else has it.
func lock(path string, how int) (fd int, err error) {
	if fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(fd, how)
	}
	if err != nil {
		unix.Close(fd)
		return -1, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	return fd, nil
}

// lock locks a network against its holder's end, its start by others and its removal.
func (s Store) lock(name string) (fd int, err error) { return s.lockAs(name, unix.LOCK_EX) }

// lockNow is lock, but waits for nobody.
func (s Store) lockNow(name string) (fd int, err error) {
	return s.lockAs(name, unix.LOCK_EX|unix.LOCK_NB)
}

// lockAs takes the lock. Who has waited for it may find that the file is another's
// then.
func (s Store) lockAs(name string, how int) (fd int, err error) {
	for {
		fd, err = lock(s.path(name), how)
		if errors.Is(err, fs.ErrNotExist) {
			return -1, &NotFoundError{name}
		}
		if err != nil {
			return -1, err
		}
		var locked, there unix.Stat_t
		if unix.Fstat(fd, &locked) == nil && unix.Lstat(s.path(name), &there) == nil && locked.Ino == there.Ino && locked.Dev == there.Dev {
			return fd, nil
		}
		unix.Close(fd)
	}
}
