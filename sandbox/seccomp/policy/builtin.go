package policy

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

//go:generate go run ./gen

// The built-in policies. Each adds to the one it is made of.
const (
	// Default is moby's default profile for a container without capabilities,
	// with the edits below.
	Default = "default"
	// Build is Default for work on code: no file with a set-user-id or
	// set-group-id bit can be made; debuggers may switch address space
	// randomisation off. It keeps ptrace, as Default does.
	Build = "build"
	// Strict is Default for hostile code: Build's rule about modes, closed
	// where openat2 leaves it open, no debugging, and less of the kernel.
	Strict = "strict"
	// Unconfined allows everything: no filter is installed.
	Unconfined = "unconfined"
)

// Names are the built-in policies.
func Names() []string { return []string{Default, Build, Strict, Unconfined} }

// Variant is what a sandbox is allowed beyond the policy's name.
type Variant struct {
	// FakeRoot is for a sandbox whose root is root of an inner user namespace
	// that owns nothing else: setgroups, chroot, and modes with set-id bits.
	FakeRoot bool
	// NestedUserNS allows new namespaces and mounts in them.
	NestedUserNS bool
	// Multiarch allows programs of the 32-bit architecture beside the native one.
	Multiarch bool
}

// Builtin is a built-in policy for the native architecture of 64 bits.
func Builtin(name string, native Arch, v Variant) (Policy, error) {
	if !native.known() || !arches[native].wide {
		return Policy{}, fmt.Errorf("no built-in policy for %v", native)
	}
	p := Policy{
		Name: name, Arches: []Arch{native},
		Default: Errno(unix.EPERM), Unknown: Errno(unix.ENOSYS), Foreign: Kill, X32: Errno(unix.ENOSYS),
	}
	if v.Multiarch {
		p.Arches = append(p.Arches, arches[native].other)
	}
	switch name {
	case Unconfined:
		p.Default, p.Unknown, p.Foreign, p.X32 = Allow, Allow, Allow, Allow
		return p, nil
	case Default, Build, Strict:
		p.Rules = slices.Clone(mobyRules[:])
		p = p.clone() // mobyRules is a table
		p.set(defaultRules()...)
	default:
		return Policy{}, unknown("built-in policy", name, Names())
	}
	switch name {
	case Build:
		p.set(modeRules()...)
		p.Rules = append(p.Rules, Rule{
			Names: []string{"personality"}, Action: Allow, Args: []Cond{{Index: 0, Op: Eq, Value: addrNoRandomize}},
			Why: "a debugger makes addresses repeat",
		})
	case Strict:
		p.set(modeRules()...)
		p.set(strictRules()...)
	}
	if v.Multiarch {
		p.set(Rule{Names: []string{"modify_ldt"}, Action: Allow, Why: "segments of 32-bit programs"})
	}
	if v.NestedUserNS {
		p.set(nestedRules()...)
	}
	if v.FakeRoot {
		p.set(fakeRootRules()...)
		if name == Strict { // whose modes need not be kept from openat2 now
			p.set(Rule{Names: []string{"openat2"}, Action: Allow})
		}
	}
	return p, nil
}

// set replaces all that p says about the calls that rules name. p's rules must
// be its own.
func (p *Policy) set(rules ...Rule) {
	for _, r := range rules {
		p.forget(r.Names...)
	}
	p.Rules = append(p.Rules, rules...)
}

// forget takes calls out of every rule.
func (p *Policy) forget(calls ...string) {
	for i := range p.Rules {
		p.Rules[i].Names = slices.DeleteFunc(p.Rules[i].Names, func(n string) bool { return slices.Contains(calls, n) })
	}
	p.Rules = slices.DeleteFunc(p.Rules, func(r Rule) bool { return len(r.Names) == 0 })
}

const (
	// newNamespaces are the CLONE_NEW* flags that clone takes. CLONE_NEWTIME is
	// not among them: clone reads that bit as part of the exit signal's number.
	newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
		unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

	setIDBits = unix.S_ISUID | unix.S_ISGID // of a file's mode

	// creating are the flags of open with which it reads its mode. O_TMPFILE is
	// this bit and O_DIRECTORY; the bit alone is an error. Both are the same on
	// all our architectures, O_DIRECTORY is not.
	creating = unix.O_CREAT | 0x400000

	addrNoRandomize = 0x40000 // ADDR_NO_RANDOMIZE, personality(2)
)

func calls(s string) []string { return strings.Fields(s) }

// defaultRules are the edits of moby's profile.
func defaultRules() []Rule {
	noFamily := Errno(unix.EAFNOSUPPORT)
	is := func(index uint8, v uint64) Cond { return Cond{Index: index, Op: Eq, Value: v} }
	rules := []Rule{
		{Names: calls("socket"), Action: Allow, Args: []Cond{is(0, unix.AF_UNIX)}, Why: "AF_UNIX"},
		{Names: calls("socket"), Action: Allow, Args: []Cond{is(0, unix.AF_INET)}, Why: "AF_INET"},
		{Names: calls("socket"), Action: Allow, Args: []Cond{is(0, unix.AF_INET6)}, Why: "AF_INET6"},
		{
			Names: calls("socket"), Action: Allow, Args: []Cond{is(0, unix.AF_NETLINK), is(2, unix.NETLINK_ROUTE)},
			Why: "NETLINK_ROUTE: interfaces and addresses, as getifaddrs reads them",
		},
		{Names: calls("socket"), Action: noFamily, Why: "any other family would load its module"},
		{Names: calls("socketpair"), Action: Allow, Args: []Cond{is(0, unix.AF_UNIX)}, Why: "AF_UNIX"},
		{Names: calls("socketpair"), Action: noFamily, Why: "it makes sockets of any family too"},
		{Names: calls("socketcall"), Action: Errno(unix.ENOSYS), Why: "its arguments are in memory; libc falls back on socket"},

		{Names: calls("ioctl"), Action: Errno(unix.EPERM), Args: []Cond{is(1, unix.TIOCSTI)}, Why: "TIOCSTI types into the terminal"},
		{Names: calls("ioctl"), Action: Errno(unix.EPERM), Args: []Cond{is(1, tiocLinux)}, Why: "TIOCLINUX pastes into the console"},
		{Names: calls("ioctl"), Action: Errno(unix.EPERM), Args: []Cond{is(1, unix.TIOCSETD)}, Why: "TIOCSETD loads a line discipline"},

		{
			Names: calls("clone"), Action: Allow, Args: []Cond{{Index: 0, Op: MaskedEq, Mask: newNamespaces}},
			Why: "no flag of a new namespace",
		},
		{Names: calls("clone"), Action: Errno(unix.EPERM)},
		{Names: calls("clone3"), Action: Errno(unix.ENOSYS), Why: "its flags are in memory; libc falls back on clone"},
		{Names: calls("unshare setns"), Action: Errno(unix.EPERM), Why: "namespaces"},
		{Names: calls("chroot mount pivot_root umount umount2"), Action: Errno(unix.EPERM), Why: "mounts"},
		{
			Names:  calls("fsconfig fsmount fsopen fspick mount_setattr move_mount open_tree open_tree_attr"),
			Action: Errno(unix.ENOSYS), Why: "mounts by descriptor, as on a kernel without them",
		},
		{Names: calls("io_uring_enter io_uring_register io_uring_setup"), Action: Errno(unix.ENOSYS), Why: "its operations pass no filter"},
		{Names: calls("add_key keyctl request_key"), Action: Errno(unix.EPERM), Why: "keyrings have no namespace"},
		{Names: calls("setgroups setgroups32"), Action: Errno(unix.EPERM), Why: "giving up a group gives up what the group is denied"},
		{Names: calls("modify_ldt"), Action: Errno(unix.EPERM), Why: "segments of 32-bit programs"},
		{Names: calls("bpf perf_event_open userfaultfd"), Action: Errno(unix.EPERM), Why: "kernel code for those who are trusted"},

		// Newer than moby's profile.
		{Names: calls("file_getattr file_setattr"), Action: Allow, Why: "what ioctl does already"},
		{Names: calls("rseq_slice_yield uprobe"), Action: Allow, Why: "one gives up the processor, one is called by the kernel's own code"},
		{Names: calls("listns"), Action: Errno(unix.ENOSYS), Why: "namespaces of others"},
	}
	rules = append(rules, subvolumes()...)
	return append(rules, Rule{Names: calls("ioctl"), Action: Allow})
}

const tiocLinux = 0x541c // TIOCLINUX of asm-generic/ioctls.h

// modeRules refuse to make a file that runs as its owner or group: chmod and
// its kin, and calls that create a file with a mode. mkdir is not among them:
// the kernel takes these bits from its mode itself. openat2 has its mode in
// memory.
func modeRules() []Rule {
	var rules []Rule
	plain := func(list string, mode uint8) {
		rules = append(rules,
			Rule{Names: calls(list), Action: Allow, Args: []Cond{{Index: mode, Op: MaskedEq, Mask: setIDBits}}},
			Rule{Names: calls(list), Action: Errno(unix.EPERM), Why: "set-user-id and set-group-id bits"})
	}
	plain("chmod fchmod creat mknod", 1)
	plain("fchmodat fchmodat2 mknodat", 2)
	for _, o := range []struct {
		call        string
		flags, mode uint8
	}{{"open", 1, 2}, {"openat", 2, 3}} {
		rules = append(rules,
			Rule{Names: calls(o.call), Action: Allow, Args: []Cond{{Index: o.flags, Op: MaskedEq, Mask: creating}}, Why: "creates nothing"},
			Rule{Names: calls(o.call), Action: Allow, Args: []Cond{{Index: o.mode, Op: MaskedEq, Mask: setIDBits}}},
			Rule{Names: calls(o.call), Action: Errno(unix.EPERM), Why: "set-user-id and set-group-id bits of a new file"})
	}
	return rules
}

// strictRules are Strict's own.
func strictRules() []Rule {
	rules := []Rule{
		{Names: calls("ptrace process_vm_readv process_vm_writev"), Action: Errno(unix.EPERM), Why: "debugging"},
		{Names: calls("openat2"), Action: Errno(unix.ENOSYS), Why: "the mode of a new file is in memory; programs fall back on openat"},
		{
			Names:  calls("io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit"),
			Action: Errno(unix.ENOSYS), Why: "little used kernel code",
		},
		{Names: calls("fanotify_mark name_to_handle_at remap_file_pages vmsplice"), Action: Errno(unix.EPERM), Why: "little used kernel code"},
		{Names: calls("listmount memfd_secret statmount"), Action: Errno(unix.ENOSYS), Why: "as on a kernel without them"},
		{Names: calls("personality"), Action: Allow, Args: []Cond{{Index: 0, Op: Eq, Value: 0}}},
		{Names: calls("personality"), Action: Allow, Args: []Cond{{Index: 0, Op: Eq, Value: 0xffffffff}}, Why: "asks what it is"},
	}
	rules = append(rules, []Rule{
		{Names: calls("socket"), Action: Allow, Args: []Cond{{Index: 0, Op: Eq, Value: unix.AF_UNIX}}, Why: "AF_UNIX"},
		{
			Names: calls("socket"), Action: Allow,
			Args: []Cond{{Index: 0, Op: Eq, Value: unix.AF_NETLINK}, {Index: 2, Op: Eq, Value: unix.NETLINK_ROUTE}},
			Why:  "NETLINK_ROUTE: interfaces and addresses, as getifaddrs reads them",
		},
		{
			Names: calls("socket"), Action: Errno(unix.EAFNOSUPPORT),
			Args: []Cond{{Index: 0, Op: Ne, Value: unix.AF_INET}, {Index: 0, Op: Ne, Value: unix.AF_INET6}},
			Why:  "any other family than AF_INET and AF_INET6 would load its module",
		},
	}...)
	for _, p := range []struct {
		number uint64
		name   string
	}{
		{unix.IPPROTO_IP, "the type's own protocol"}, {unix.IPPROTO_TCP, "TCP"}, {unix.IPPROTO_UDP, "UDP"},
		{unix.IPPROTO_ICMP, "ICMP"}, {unix.IPPROTO_ICMPV6, "ICMPv6"},
	} {
		rules = append(rules, Rule{Names: calls("socket"), Action: Allow, Args: []Cond{{Index: 2, Op: Eq, Value: p.number}}, Why: p.name})
	}
	return append(rules, Rule{
		Names: calls("socket"), Action: Errno(unix.EPROTONOSUPPORT), Why: "any other protocol would load its module",
	})
}

// nestedRules are for Variant.NestedUserNS.
func nestedRules() []Rule {
	return []Rule{{
		Names: calls(`chroot clone clone3 fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree
			open_tree_attr pivot_root setdomainname setgroups setgroups32 sethostname setns umount umount2 unshare`),
		Action: Allow, Why: "sandboxes inside",
	}}
}

// fakeRootRules are for Variant.FakeRoot.
func fakeRootRules() []Rule {
	return []Rule{
		{Names: calls("chroot setgroups setgroups32"), Action: Allow, Why: "fake root"},
		{
			Names:  calls("chmod creat fchmod fchmodat fchmodat2 mknod mknodat open openat"),
			Action: Allow, Why: "fake root installs set-user-id programs",
		},
	}
}
