package policy

import "golang.org/x/sys/unix"

// Shared is what a sandbox without namespaces shares with the host on purpose.
type Shared struct {
	Net bool // the host's network
	IPC bool // System V IPC and POSIX message queues
	// Unix are sockets of AF_UNIX: something else judges whom they reach.
	Unix bool
}

// Bare is the policy beside another one for a sandbox without namespaces, for the
// native architecture. It refuses the calls by which the command would reach
// what a namespace of its own would have hidden, and allows all the rest: both
// filters are installed, and the kernel takes the stricter word of the two.
func Bare(native Arch, s Shared) Policy {
	none := Errno(unix.EAFNOSUPPORT)
	is := func(index uint8, v uint64) Cond { return Cond{Index: index, Op: Eq, Width: Width32, Value: v} }
	p := Policy{
		Name: "bare", Arches: []Arch{native},
		Default: Allow, Unknown: Errno(unix.ENOSYS), Foreign: Kill, X32: Errno(unix.ENOSYS),
	}
	var families []uint64
	if s.Net {
		families = append(families, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK)
	}
	if s.Unix {
		families = append(families, unix.AF_UNIX)
	}
	for _, f := range families {
		p.Rules = append(p.Rules, Rule{Names: calls("socket"), Action: Allow, Args: []Cond{is(0, f)}})
	}
	p.Rules = append(p.Rules, Rule{Names: calls("socket"), Action: none, Why: "sockets reach the host's network and its services"})
	if s.Unix {
		p.Rules = append(p.Rules, Rule{Names: calls("socketpair"), Action: Allow, Args: []Cond{is(0, unix.AF_UNIX)}})
	} else {
		// One of a pair of datagram sockets can still be connected elsewhere.
		for _, typ := range []uint64{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
			p.Rules = append(p.Rules, Rule{Names: calls("socketpair"), Action: Allow, Args: []Cond{
				is(0, unix.AF_UNIX), {Index: 1, Op: MaskedEq, Width: Width32, Value: typ, Mask: sockTypeMask},
			}})
		}
	}
	p.Rules = append(p.Rules, Rule{Names: calls("socketpair"), Action: none})
	if !s.IPC {
		p.Rules = append(p.Rules, Rule{
			Names: calls(`mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
				mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget`),
			Action: Errno(unix.ENOSYS), Why: "queues, semaphores and shared memory of the host's",
		})
	}
	p.Rules = append(p.Rules, Rule{Names: calls("add_key keyctl request_key"), Action: Errno(unix.EPERM), Why: "keyrings of the host's user"})
	p.Rules = append(p.Rules, subvolumes()...)
	self := func(call string, conds ...Cond) {
		p.Rules = append(p.Rules, Rule{Names: calls(call), Action: Allow, Args: conds, Why: "of the caller itself"},
			Rule{Names: calls(call), Action: Errno(unix.EPERM), Why: "limits and scheduling of the host's processes"})
	}
	for _, call := range calls("prlimit64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler") {
		self(call, is(0, 0))
	}
	self("setpriority", is(0, unix.PRIO_PROCESS), is(1, 0))
	self("ioprio_set", is(0, ioprioWhoProcess), is(1, 0))
	p.Rules = append(p.Rules,
		Rule{Names: calls("clone"), Action: Allow, Args: []Cond{{Index: 0, Op: MaskedEq, Mask: newNamespaces}}},
		Rule{Names: calls("clone unshare setns"), Action: Errno(unix.EPERM), Why: "namespaces"},
		Rule{Names: calls("clone3"), Action: Errno(unix.ENOSYS), Why: "its flags are in memory"},
		Rule{Names: calls("io_uring_enter io_uring_register io_uring_setup"), Action: Errno(unix.ENOSYS), Why: "its operations pass no filter"})
	return p
}

const (
	sockTypeMask     = 0xf // SOCK_TYPE_MASK of linux/net.h
	ioprioWhoProcess = 1   // IOPRIO_WHO_PROCESS, ioprio_set(2)
)
