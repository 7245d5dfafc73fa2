package access

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/screen"
	"github.com/sbx-sandbox/sbx/sandbox/control"
	"github.com/sbx-sandbox/sbx/sandbox/output"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// logOptions are what logs shows.
type logOptions struct {
	follow, timestamps, raw bool
	tail                    int // lines, -1 for all
	since, until            time.Time
}

// LogsCommand is the verb logs.
func LogsCommand() cli.Command {
	return cli.Command{
		Name: "logs", Args: "[FLAGS] NAME", Summary: "print what a detached sandbox's command has written",
		Long: "Print the output of a detached sandbox's command: what it wrote to standard output on standard output, the rest on standard error. " +
			"So much of it is kept as --log-max of sbx run says. On a terminal, characters that a terminal acts on are shown as ?, but for colours; --raw passes them on.",
		Example: "sbx logs web\nsbx logs -f --tail 10 web\nsbx logs --since 5m -t web",
		Words:   sandboxes.FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			o := logOptions{tail: -1}
			cli.AddSwitch(fs, &o.follow, "follow", "f", cli.GroupOutput, "go on until the sandbox ends")
			cli.AddFlag(fs, cli.Flag{Name: "tail", Short: "n", Arg: "N", Group: cli.GroupOutput, Usage: "only the last N lines; or all", Set: func(s string) (err error) {
				if s == "all" {
					o.tail = -1
					return nil
				}
				if o.tail, err = strconv.Atoi(s); err != nil || o.tail < 0 {
					return fmt.Errorf("%q is neither a number nor all", s)
				}
				return nil
			}})
			cli.AddFlag(fs, cli.Flag{Name: "since", Arg: "TIME", Group: cli.GroupOutput, Usage: "from then on: 5m (ago), or 2026-01-02T15:04:05Z", Set: func(s string) (err error) {
				o.since, err = moment(s)
				return err
			}})
			cli.AddFlag(fs, cli.Flag{Name: "until", Arg: "TIME", Group: cli.GroupOutput, Usage: "until then, and no longer; -30s is in half a minute", Set: func(s string) (err error) {
				o.until, err = moment(s)
				return err
			}})
			cli.AddSwitch(fs, &o.timestamps, "timestamps", "t", cli.GroupOutput, "when each line came before it")
			cli.AddSwitch(fs, &o.raw, "raw", "", cli.GroupOutput, "on a terminal, pass on what it acts on")
			return func(inv *cli.Invocation) error {
				r, err := sandboxes.Only(inv)
				if err != nil {
					return err
				}
				return logs(inv, &r, &o)
			}
		},
	}
}

// moment reads a time, or how long ago it was.
func moment(s string) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-d), nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, nil
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time, write 5m, or 2026-01-02T15:04:05Z", s)
}

func logs(inv *cli.Invocation, r *state.Record, o *logOptions) error {
	reader, err := output.Open(filepath.Join(state.Dir(r.ID), state.LogFile))
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s keeps no output: it was not started with --detach", r.Name)
	}
	if err != nil {
		return err
	}
	defer reader.Close()
	var conn *control.Conn
	if o.follow && r.Alive() {
		// First, so that what comes before its end is read after it.
		if conn, err = sandboxes.DialAndWait(r); err == nil {
			defer conn.Close()
			err = conn.Ask(control.Request{Op: control.Wait})
		}
		switch {
		case err == nil:
		case sandboxes.Ended(err), !r.Alive():
			conn = nil
		default:
			return err
		}
	}
	if o.tail >= 0 {
		lines, err := reader.Tail(o.tail)
		if err != nil {
			return err
		}
		for i := range lines {
			if err := logLine(inv, &lines[i], o); err != nil {
				return err
			}
		}
	}
	for ended := conn == nil; ; {
		if err := logRest(inv, reader, o); err != nil || ended {
			return err
		}
		// Nothing says that a file has grown; the sandbox's end is heard at once.
		look := 50
		if !o.until.IsZero() {
			left := time.Until(o.until)
			if left <= 0 {
				ended = true // once more, for what came just before
				continue
			}
			look = min(look, int(left/time.Millisecond)+1)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(conn.FD()), Events: unix.POLLIN}}, look)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		ended = n > 0
	}
}

func logRest(inv *cli.Invocation, reader *output.Reader, o *logOptions) error {
	for {
		l, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = logLine(inv, &l, o)
		}
		if err != nil {
			return err
		}
	}
}

func logLine(inv *cli.Invocation, l *output.Line, o *logOptions) error {
	if l.Time.Before(o.since) || !o.until.IsZero() && l.Time.After(o.until) {
		return nil
	}
	w := inv.Out
	if l.Stream == output.Stderr {
		w = inv.Err
	}
	text := string(l.Text)
	if !o.raw && screen.IsTerminal(w) {
		text = coloured(text)
	}
	if o.timestamps {
		text = l.Time.Format(time.RFC3339Nano) + " " + text
	}
	if l.Whole {
		text += "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// coloured is printable but for what only changes colours: ESC [ numbers m
// (ECMA-48, 8.3.117).
func coloured(s string) string {
	var b strings.Builder
	for s != "" {
		before, after, found := strings.Cut(s, "\x1b[")
		b.WriteString(screen.Printable(before))
		if !found {
			break
		}
		end := strings.IndexFunc(after, func(r rune) bool { return (r < '0' || r > '9') && r != ';' && r != ':' })
		if end >= 0 && end < 40 && after[end] == 'm' {
			b.WriteString("\x1b[" + after[:end+1])
			s = after[end+1:]
		} else {
			b.WriteString("?[")
			s = after
		}
	}
	return b.String()
}
