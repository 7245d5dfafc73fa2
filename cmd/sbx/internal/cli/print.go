package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
)

// PrintJSON prints one object for programs.
func (inv *Invocation) PrintJSON(v any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := inv.Out.Write(screen.Escape(text.Bytes()))
	return err
}

// Late is Warn once the command has ended. What nobody takes within a second is
// dropped: the command may have filled the pipe that is this process's stderr
// too, and is not to keep it by that.
func (inv *Invocation) Late(format string, args ...any) {
	if inv.Taken(time.Second) {
		inv.Warn(format, args...)
	}
}

// Lately is Late for what is no warning.
func (inv *Invocation) Lately(format string, args ...any) {
	if inv.Taken(time.Second) {
		fmt.Fprintf(inv.Err, "%s %s\n", screen.Paint(inv.Err, screen.Bold, "sbx:"), screen.Printable(fmt.Sprintf(format, args...)))
	}
}

// Taken waits until a line that is written to stderr does not block, and says
// whether that came to be.
func (inv *Invocation) Taken(wait time.Duration) bool {
	f, ok := inv.Err.(*os.File)
	if !ok {
		return true
	}
	err := error(unix.EINTR)
	n := 0
	for end := time.Now().Add(wait); errors.Is(err, unix.EINTR); {
		left := max(time.Until(end), 0) / time.Millisecond
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLOUT}}, int(left))
	}
	return err != nil || n > 0
}

// Warn prints one line, unless it is not wanted.
func (inv *Invocation) Warn(format string, args ...any) {
	if !inv.Silent {
		fmt.Fprintf(inv.Err, "%s %s\n", screen.Paint(inv.Err, screen.Yellow, "sbx: warning:"), screen.Printable(fmt.Sprintf(format, args...)))
	}
}

// Say prints one line of what went wrong, with sbx's name before it.
func (inv *Invocation) Say(format string, args ...any) error {
	_, err := fmt.Fprintf(inv.Err, "sbx: %s\n", screen.Printable(fmt.Sprintf(format, args...)))
	return err
}
