package policy

import "golang.org/x/sys/unix"

// subvolumes are rules against making and removing subvolumes and snapshots of btrfs
// and bcachefs by ioctl(2), whose request is an int (linux/btrfs.h, ioctl-number.rst). A snapshot shows what is
// hidden in the tree that it is of, since mounts are no part of it, and Landlock
// judges none of these calls.
func subvolumes() []Rule {
	var rules []Rule
	for _, request := range []uint64{
		0x50009401, // BTRFS_IOC_SNAP_CREATE
		0x5000940e, // BTRFS_IOC_SUBVOL_CREATE
		0x5000940f, // BTRFS_IOC_SNAP_DESTROY
		0x50009417, // BTRFS_IOC_SNAP_CREATE_V2
		0x50009418, // BTRFS_IOC_SUBVOL_CREATE_V2
		0x5000943f, // BTRFS_IOC_SNAP_DESTROY_V2
		0x4008941a, // BTRFS_IOC_SUBVOL_SETFLAGS
	} {
		rules = append(rules, Rule{
			Names: calls("ioctl"), Action: Errno(unix.EPERM), Why: "a snapshot of btrfs shows what mounts hide, and Landlock does not judge it",
			Args: []Cond{{Index: 1, Op: Eq, Width: Width32, Value: request}},
		})
	}
	return append(rules, Rule{
		Names: calls("ioctl"), Action: Errno(unix.EPERM), Why: "so does one of bcachefs, whose requests these are (type 0xbc)",
		Args: []Cond{{Index: 1, Op: MaskedEq, Width: Width32, Value: 0xbc << 8, Mask: 0xff << 8}},
	})
}
