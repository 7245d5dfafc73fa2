package sandbox

import "fmt"

// Capability is a Linux capability's number, see capabilities(7).
type Capability int

// The capabilities that fake root keeps: those that act on files, processes
// and ids of the own user namespace.
const (
	CapChown          Capability = 0
	CapDACOverride    Capability = 1
	CapFowner         Capability = 3
	CapFsetid         Capability = 4
	CapKill           Capability = 5
	CapSetgid         Capability = 6
	CapSetuid         Capability = 7
	CapSetpcap        Capability = 8
	CapNetBindService Capability = 10
	CapSysChroot      Capability = 18
	CapSetfcap        Capability = 31
)

// LastCapability is the highest number asked of the kernel when emptying the
// bounding set. Numbers the kernel does not know are passed over.
const LastCapability Capability = 63

// KnownCapability is the highest number that every kernel sbx runs on knows:
// CAP_CHECKPOINT_RESTORE, since Linux 5.9.
const KnownCapability Capability = 40

// FakeRoot is the set that a command with uid 0 inside keeps.
func FakeRoot() []Capability {
	return []Capability{CapChown, CapDACOverride, CapFowner, CapFsetid, CapKill, CapSetgid,
		CapSetuid, CapSetpcap, CapNetBindService, CapSysChroot, CapSetfcap}
}

var capabilityNames = map[Capability]string{
	CapChown: "CHOWN", CapDACOverride: "DAC_OVERRIDE", CapFowner: "FOWNER", CapFsetid: "FSETID",
	CapKill: "KILL", CapSetgid: "SETGID", CapSetuid: "SETUID", CapSetpcap: "SETPCAP",
	CapNetBindService: "NET_BIND_SERVICE", CapSysChroot: "SYS_CHROOT", CapSetfcap: "SETFCAP",
}

// String is the name without its CAP_ prefix, as podman prints it.
func (c Capability) String() string {
	if n, ok := capabilityNames[c]; ok {
		return n
	}
	return fmt.Sprintf("CAP_%d", int(c))
}
