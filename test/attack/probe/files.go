package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// mounting tries each way to change the mounts; args[0] is a directory of its
// own and args[1] a mount point.
func mounting(args []string) {
	dir, at := args[0], args[1]
	for _, try := range []struct {
		name string
		do   func() error
	}{
		{"tmpfs", func() error { return unix.Mount("probe", dir, "tmpfs", 0, "") }},
		{"bind", func() error { return unix.Mount(dir, dir, "", unix.MS_BIND, "") }},
		{"remount", func() error { return unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND, "") }},
		{"propagation", func() error { return unix.Mount("", at, "", unix.MS_SHARED, "") }},
		{"setattr", func() error {
			return unix.MountSetattr(unix.AT_FDCWD, at, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
		}},
		{"open_tree", func() error {
			fd, err := unix.OpenTree(unix.AT_FDCWD, at, unix.OPEN_TREE_CLONE)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}},
		{"fsopen", func() error {
			fd, err := unix.Fsopen("tmpfs", 0)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}},
		{"umount", func() error { return unix.Unmount(at, unix.MNT_DETACH) }},
		{"sethostname", func() error { return unix.Sethostname([]byte("probe")) }},
		{"chroot", func() error { return unix.Chroot("/") }},
		{"pivot_root", func() error { return unix.PivotRoot(dir, dir) }},
	} {
		fmt.Printf("%s: %s\n", try.name, result(try.do()))
	}
}

// mountAs mounts a tmpfs with the flags named, and goes on as a command.
func mountAs(args []string) {
	dir, flags := args[0], uintptr(0)
	rest := args[1:]
	for ; len(rest) > 0 && rest[0] != "--"; rest = rest[1:] {
		switch rest[0] {
		case "noexec":
			flags |= unix.MS_NOEXEC
		case "ro":
			flags |= unix.MS_RDONLY
		}
	}
	if err := unix.Mount("probe", dir, "tmpfs", flags&^unix.MS_RDONLY, "mode=777"); err != nil {
		fail("mounting on %s: %v", dir, err)
	}
	// A program, to see whether it can be executed.
	if text, err := os.ReadFile("/proc/self/exe"); err == nil {
		_ = os.WriteFile(dir+"/probe", text, 0o755)
	}
	if len(rest) > 1 {
		run(rest[1:])
	}
}

// run runs a command and leaves with its status.
func run(argv []string) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		fail("%v", err)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// weakBind binds args[0] on args[1] as a careless tool does, read-only without
// what is mounted below, and tries to create args[2].
func weakBind(args []string) {
	if err := unix.Mount(args[0], args[1], "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		fail("%v", err)
	}
	if err := unix.Mount("", args[1], "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		fail("%v", err)
	}
	say(open(args[2], unix.O_WRONLY|unix.O_CREAT))
}

// inNamespaces runs a command in new user and mount namespaces, as the same
// user, with the right to mount there.
func inNamespaces(args []string) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_SYS_RESOURCE},
	}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		fail("%v", err)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// propagation mounts on args[0] while a command runs that was started before.
// The command is to say a line when it is ready, and is told by a line when
// the mount is there. Everything is shared, as systemd has it.
func propagation(args []string) {
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		fail("%v", err)
	}
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		fail("%v", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		fail("%v", err)
	}
	if err := cmd.Start(); err != nil {
		fail("%v", err)
	}
	var b [1024]byte
	if _, err := out.Read(b[:]); err != nil {
		fail("the command said nothing: %v", err)
	}
	if err := unix.Mount("probe", args[0], "tmpfs", 0, ""); err != nil {
		fail("%v", err)
	}
	if err := os.WriteFile(args[0]+"/late", nil, 0o644); err != nil {
		fail("%v", err)
	}
	fmt.Fprintln(in, "go")
	n, _ := out.Read(b[:])
	fmt.Print(string(b[:n]))
	cmd.Wait()
}

// look is a command for propagation: it says whether it sees the mount. With
// "slave" it does so in a mount namespace that follows the host's.
func look(args []string) {
	if len(args) > 1 && args[1] == "slave" {
		cmd := self("look", args[0])
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
		if err := cmd.Run(); err != nil {
			fail("%v", err)
		}
		return
	}
	fmt.Println("ready")
	var word string
	fmt.Scan(&word)
	say(open(args[0]+"/late", unix.O_RDONLY))
}

// exchange swaps two names again and again until the file args[2] is gone.
func exchange(args []string) {
	for n := 0; ; n++ {
		if err := unix.Renameat2(unix.AT_FDCWD, args[0], unix.AT_FDCWD, args[1], unix.RENAME_EXCHANGE); err != nil {
			fail("%v", err)
		}
		if n%64 == 0 && open(args[2], unix.O_RDONLY) != nil {
			return
		}
	}
}

// fill writes n KiB into a new file in a directory.
func fill(args []string) {
	n, _ := strconv.Atoi(args[1])
	f, err := os.OpenFile(args[0]+"/fill", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		for i := 0; i < n && err == nil; i++ {
			_, err = f.Write(make([]byte, 1024))
		}
		f.Close()
		os.Remove(args[0] + "/fill")
	}
	say(err)
}

// inodes makes n empty files in a directory.
func inodes(args []string) {
	n, _ := strconv.Atoi(args[1])
	var err error
	var i int
	for i = 0; i < n && err == nil; i++ {
		err = open(args[0]+"/i"+strconv.Itoa(i), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	}
	for ; i > 0; i-- {
		os.Remove(args[0] + "/i" + strconv.Itoa(i-1))
	}
	say(err)
}

// facts prints what /proc says of this process, each file behind a line with
// its name in brackets.
func facts([]string) {
	section := func(name, text string) { fmt.Printf("[%s]\n%s\n", name, strings.TrimRight(text, "\n")) }
	for _, name := range []string{"mountinfo", "status", "uid_map", "gid_map", "setgroups", "limits", "oom_score_adj"} {
		text, err := os.ReadFile("/proc/self/" + name)
		if err != nil {
			section(name, "error: "+err.Error())
			continue
		}
		section(name, string(text))
	}
	section("environ", strings.Join(os.Environ(), "\x01\n"))
	kinds, err := os.ReadDir("/proc/self/ns")
	if err != nil {
		fail("%v", err)
	}
	var links []string
	for _, k := range kinds {
		l, _ := os.Readlink("/proc/self/ns/" + k.Name())
		links = append(links, k.Name()+" "+l)
	}
	section("ns", strings.Join(links, "\n"))
	host, _ := os.Hostname()
	section("hostname", host)
	wd, _ := os.Getwd()
	section("cwd", wd)
	mask := unix.Umask(0)
	section("umask", fmt.Sprintf("%04o", mask))
	nice, _ := unix.Getpriority(unix.PRIO_PROCESS, 0)
	section("nice", strconv.Itoa(20-nice))
	section("ids", fmt.Sprint(unix.Getuid(), unix.Getgid()))
	var users []string
	dir, _ := os.ReadDir("/proc/sys/user")
	for _, f := range dir {
		text, _ := os.ReadFile("/proc/sys/user/" + f.Name())
		users = append(users, f.Name()+" "+strings.TrimSpace(string(text)))
	}
	section("user_limits", strings.Join(users, "\n"))
	dev, _ := os.ReadDir("/dev")
	var devs []string
	for _, d := range dev {
		devs = append(devs, d.Name())
	}
	section("dev", strings.Join(devs, " "))
}
