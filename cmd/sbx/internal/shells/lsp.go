package shells

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/project"
	"github.com/sbx-sandbox/sbx/profiles"
)

// LspCommand is the verb lsp.
func LspCommand() cli.Command {
	return cli.Command{
		Name: "lsp", Args: "[FLAGS] [PROFILE|-] -- SERVER [ARG...]", Runs: true, Strict: true,
		Summary: "run a language server in a sandbox, for an editor",
		Long: "Run SERVER as sbx run does, with its flags, or where sbx up has started the project's sandbox and there are none, in that one, for the editor at its standard streams. Paths are the same inside, so one number " +
			"alone is changed on the way: the editor's process id, which servers watch and which inside would be nobody's. " +
			"The server ends with its standard input, and with sbx.",
		Example: "sbx lsp -- gopls\nsbx lsp node -- typescript-language-server --stdio",
		Words:   cli.RunWords,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			options.RunFlags(fs) // to be checked; sbx run gets them as they were typed
			return func(inv *cli.Invocation) error {
				ref, argv, err := inv.ProfileAndCommand()
				if err != nil {
					return err
				}
				if len(argv) == 0 {
					return cli.Usagef("lsp needs the server's command, as in sbx lsp %s-- gopls", spaced(ref))
				}
				words := append([]string{"run"}, inv.Typed...)
				if inv.Typed[0] == "--" || len(inv.Typed) > 1 && inv.Typed[0] == ref {
					if r, ok := project.UpNow(profiles.HostEnv()); ok && (ref == "" || ref == r.Project.Ref) {
						words = append([]string{"exec", "--interactive", "--tty=never", "--"}, argv...)
					}
				}
				return lsp(inv, words)
			}
		},
	}
}

func spaced(word string) string {
	if word == "" {
		return ""
	}
	return word + " "
}

// lsp starts sbx with args, run or exec, and stands between the editor and the server's
// standard input, until the request that has the process id has passed.
func lsp(inv *cli.Invocation, args []string) error {
	// Should this process be ended, which takes no signal any further, the other is
	// to end as by its own SIGTERM. That signal is tied to the thread that asks.
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting sbx %s: %w", args[0], err)
	}
	go func() {
		if err := passInitialize(in, os.Stdin); err != nil && !errors.Is(err, unix.EPIPE) {
			inv.Warn("what the editor says is passed on no more: %v", err)
		}
		in.Close()
	}()
	err = cmd.Wait()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		return err
	}
	inv.Status = cmd.ProcessState.ExitCode()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		inv.Status = 128 + int(ws.Signal())
	}
	return nil
}

// maxHeader and maxInitialize bound what is read before the server gets any of
// it, in bytes.
const (
	maxHeader     = 4 << 10
	maxInitialize = 16 << 20
)

// passInitialize copies messages from an editor to a server until the request
// "initialize", in which it removes the process id, and then whatever follows.
func passInitialize(to io.Writer, from io.Reader) error {
	in := bufio.NewReaderSize(from, maxHeader)
	for {
		body, err := readMessage(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		body, done := withoutProcess(body)
		if _, err := fmt.Fprintf(to, "Content-Length: %d\r\n\r\n%s", len(body), body); err != nil {
			return err
		}
		if done {
			break
		}
	}
	// What is buffered first, then the pipe itself.
	rest, err := in.Peek(in.Buffered())
	if err == nil {
		_, err = to.Write(rest)
	}
	if err == nil {
		_, err = io.Copy(to, from)
	}
	return err
}

// readMessage reads one message of the base protocol: header lines that end in
// CR LF, an empty one, and as many bytes as Content-Length says. io.EOF is the
// end between two messages.
func readMessage(in *bufio.Reader) ([]byte, error) {
	length, some := -1, false
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) && !some && len(line) == 0 {
			return nil, io.EOF
		}
		if err != nil {
			return nil, fmt.Errorf("reading the header of a message: %w", noEOF(err))
		}
		some = true
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			break
		}
		name, value, _ := strings.Cut(text, ":")
		if strings.EqualFold(strings.TrimSpace(name), "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil || length < 0 || length > maxInitialize {
				return nil, fmt.Errorf("a message with the header %q", text)
			}
		}
	}
	if length < 0 {
		return nil, errors.New("a message without a Content-Length: is this an editor that speaks the Language Server Protocol?")
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return nil, fmt.Errorf("reading a message: %w", noEOF(err))
	}
	return body, nil
}

// noEOF is for an end in the middle of something.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// withoutProcess sets the process id in a request "initialize" to null, which
// says that no process started the server. found reports whether body is one.
// All else stays as it was, byte for byte but for the order of two tables' keys.
func withoutProcess(body []byte) (_ []byte, found bool) {
	var message map[string]json.RawMessage
	if json.Unmarshal(body, &message) != nil || !bytes.Equal(bytes.TrimSpace(message["method"]), []byte(`"initialize"`)) {
		return body, false
	}
	var params map[string]json.RawMessage
	if json.Unmarshal(message["params"], &params) != nil || params == nil {
		return body, true
	}
	params["processId"] = json.RawMessage("null")
	inner, err := json.Marshal(params)
	if err != nil {
		return body, true
	}
	message["params"] = inner
	if whole, err := json.Marshal(message); err == nil {
		body = whole
	}
	return body, true
}
