package main

import (
	"golang.org/x/sys/unix"
)

// abstract connects to an abstract socket (unix(7)).
func abstract(args []string) {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		say(err)
		return
	}
	say(unix.Connect(s, &unix.SockaddrUnix{Name: "@" + args[0]}))
}

// handed takes a directory that somebody outside sends on standard input, a
// socket, and opens a file in it: to read, to write, to make it.
func handed(args []string) {
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(0, b, oob, 0)
	if err != nil {
		fail("%v", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		fail("%d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		fail("%v", err)
	}
	for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL} {
		name := args[0]
		if flags&unix.O_CREAT != 0 {
			name += ".new"
		}
		fd, err := unix.Openat(fds[0], name, flags, 0o600)
		if err == nil {
			unix.Close(fd)
		}
		say(err)
	}
}
