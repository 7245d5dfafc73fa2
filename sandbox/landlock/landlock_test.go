package landlock

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNumbers: the kernel's header, by way of x/sys, has the same.
func TestNumbers(t *testing.T) {
	for _, x := range []struct {
		got  Access
		want uint64
	}{
		{Execute, unix.LANDLOCK_ACCESS_FS_EXECUTE},
		{WriteFile, unix.LANDLOCK_ACCESS_FS_WRITE_FILE},
		{ReadFile, unix.LANDLOCK_ACCESS_FS_READ_FILE},
		{ReadDir, unix.LANDLOCK_ACCESS_FS_READ_DIR},
		{RemoveDir, unix.LANDLOCK_ACCESS_FS_REMOVE_DIR},
		{RemoveFile, unix.LANDLOCK_ACCESS_FS_REMOVE_FILE},
		{MakeChar, unix.LANDLOCK_ACCESS_FS_MAKE_CHAR},
		{MakeDir, unix.LANDLOCK_ACCESS_FS_MAKE_DIR},
		{MakeReg, unix.LANDLOCK_ACCESS_FS_MAKE_REG},
		{MakeSock, unix.LANDLOCK_ACCESS_FS_MAKE_SOCK},
		{MakeFifo, unix.LANDLOCK_ACCESS_FS_MAKE_FIFO},
		{MakeBlock, unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK},
		{MakeSym, unix.LANDLOCK_ACCESS_FS_MAKE_SYM},
		{Refer, unix.LANDLOCK_ACCESS_FS_REFER},
		{Truncate, unix.LANDLOCK_ACCESS_FS_TRUNCATE},
		{IoctlDev, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV},
		{ResolveUnix, unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX},
		{Access(BindTCP), unix.LANDLOCK_ACCESS_NET_BIND_TCP},
		{Access(ConnectTCP), unix.LANDLOCK_ACCESS_NET_CONNECT_TCP},
		{Access(BindUDP), unix.LANDLOCK_ACCESS_NET_BIND_UDP},
		{Access(SendUDP), unix.LANDLOCK_ACCESS_NET_CONNECT_SEND_UDP},
	} {
		if uint64(x.got) != x.want {
			t.Errorf("%s is %#x, want %#x", x.got, uint64(x.got), x.want)
		}
	}
}

func TestABIs(t *testing.T) {
	for _, x := range []struct {
		abi  int
		fs   Access
		net  Net
		lost []string
	}{
		{0, 0, 0, Lost(1)},
		{1, 0x1fff, 0, []string{"it can't allow that a file is moved to another directory, so it is not used"}},
		{2, 0x3fff, 0, []string{"truncating files (ABI 3)", "ioctl on devices (ABI 5)", "signals and abstract sockets (ABI 6)"}},
		{3, 0x7fff, 0, []string{"ioctl on devices (ABI 5)", "signals and abstract sockets (ABI 6)"}},
		{4, 0x7fff, 3, []string{"ioctl on devices (ABI 5)", "signals and abstract sockets (ABI 6)"}},
		{5, 0xffff, 3, []string{"signals and abstract sockets (ABI 6)"}},
		{6, 0xffff, 3, nil},
		{8, 0xffff, 3, nil},
		{9, 0x1ffff, 3, nil},
		{10, 0x1ffff, 15, nil},
		{99, 0x1ffff, 15, nil},
	} {
		if got := Files(x.abi); got != x.fs {
			t.Errorf("ABI %d: files %#x, want %#x", x.abi, uint64(got), uint64(x.fs))
		}
		if got := Nets(x.abi); got != x.net {
			t.Errorf("ABI %d: network %#x, want %#x", x.abi, uint64(got), uint64(x.net))
		}
		if got := Lost(x.abi); !slices.Equal(got, x.lost) {
			t.Errorf("ABI %d: lost %q, want %q", x.abi, got, x.lost)
		}
	}
}

// TestText: every right, named or not, is written and read back.
func TestText(t *testing.T) {
	for bit := range 64 {
		a := Access(1) << bit
		text, _ := a.MarshalText()
		var back Access
		if err := back.UnmarshalText(text); err != nil || back != a || len(text) == 0 {
			t.Errorf("%#x becomes %q and %#x, %v", uint64(a), text, uint64(back), err)
		}
	}
	all := Files(99)
	var back Access
	if err := back.UnmarshalText([]byte(all.String())); err != nil || back != all {
		t.Errorf("%s is read as %s, %v", all, back, err)
	}
	if err := back.UnmarshalText([]byte("read_file fly")); err == nil {
		t.Error("a right that there is not was read")
	}
}

func TestBrief(t *testing.T) {
	for _, x := range []struct {
		a    Access
		want string
	}{
		{ReadDir, "list directories"},
		{Read | Execute, "read, execute"},
		{Read | Execute | Write | Make, "read, execute, write, make and remove"},
		{Read | Write | IoctlDev, "read, write, ioctl on devices"},
		{ReadFile | ResolveUnix, "read, connect to the socket"},
		{0, ""},
	} {
		if got := x.a.Brief(); got != x.want {
			t.Errorf("%s: %q, want %q", x.a, got, x.want)
		}
	}
}
