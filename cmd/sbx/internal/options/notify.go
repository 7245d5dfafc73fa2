package options

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
)

// The words of --sdnotify, podman's.
const (
	notifyNever   = "ignore"
	NotifyRuns    = "conmon" // when the command runs
	NotifyHealthy = "healthy"
)

// notifyFlag declares --sdnotify.
func notifyFlag(fs *pflag.FlagSet, into *string) {
	words := []string{NotifyRuns, NotifyHealthy, notifyNever}
	cli.AddFlag(fs, cli.Flag{Rare: true, Name: "sdnotify", Arg: "WHEN", Group: cli.GroupLife, Usage: "tell systemd that it is ready: conmon (when the command runs), healthy (after the first check of health), ignore",
		Words: words, Set: func(s string) error {
			if s == "container" {
				return errors.New("the command can't tell systemd itself: use healthy, and a health check")
			}
			for _, w := range words {
				if s == w {
					*into = s
					return nil
				}
			}
			return fmt.Errorf("unknown value %q%s, use %s", s, cli.Meant(s, words), strings.Join(words, ", "))
		}})
}

// notify tells the service manager something, sd_notify(3). Without one it does
// nothing.
func notify(text string) error {
	at := os.Getenv("NOTIFY_SOCKET")
	if at == "" {
		return nil
	}
	if at[0] != '/' && at[0] != '@' {
		return fmt.Errorf("NOTIFY_SOCKET=%s is no socket's path", at)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, []byte(text), unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: at}); err != nil {
		return fmt.Errorf("telling systemd by %s: %w", at, err)
	}
	return nil
}

// Ready says that the sandbox is ready, and which process stands by it.
func Ready() error { return notify(fmt.Sprintf("READY=1\nMAINPID=%d", os.Getpid())) }
