package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/test/sbxtest"
)

// started is an sbx-net without a sandbox: it needs neither namespaces nor a
// device until one is sent.
type started struct {
	cmd    *exec.Cmd
	link   *os.File
	events <-chan slirp.Event
	stderr *bytes.Buffer
}

func startAlone(t *testing.T, config string, args ...string) *started {
	t.Helper()
	theirs, link, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &started{cmd: exec.Command(sbxNet(t), args...), link: link, stderr: new(bytes.Buffer)}
	s.cmd.Stdin, s.cmd.Stderr = strings.NewReader(config), s.stderr
	s.cmd.ExtraFiles = []*os.File{theirs, w}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	w.Close()
	events := make(chan slirp.Event, 100)
	s.events = events
	go func() {
		defer close(events)
		defer r.Close()
		for d := json.NewDecoder(r); ; {
			var e slirp.Event
			if d.Decode(&e) != nil {
				return
			}
			events <- e
		}
	}()
	t.Cleanup(func() {
		link.Close()
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	})
	return s
}

// await returns the events up to one of a kind.
func (s *started) await(t *testing.T, kind slirp.EventKind) []slirp.Event {
	t.Helper()
	var list []slirp.Event
	late := time.After(30 * time.Second)
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				t.Fatalf("it ended without the event %s: %+v, %s", kind, list, s.stderr)
			}
			list = append(list, e)
			if e.Event == kind {
				return list
			}
		case <-late:
			t.Fatalf("no event %s came: %+v", kind, list)
		}
	}
}

// ended waits for the process's end.
func (s *started) ended(t *testing.T) int {
	t.Helper()
	late := time.AfterFunc(30*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	_ = s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

func text(t *testing.T, c slirp.Config) string {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var engineArgs = []string{"engine", "--protocol", "1"}

// TestEnd: the engine ends when the sandbox is gone, whether that began or not,
// and leaves nothing.
func TestEnd(t *testing.T) {
	sbxtest.Leftovers(t)
	s := startAlone(t, text(t, config(t)), engineArgs...)
	s.await(t, slirp.EventReady)
	began := time.Now()
	s.link.Close()
	s.await(t, slirp.EventSummary)
	if code := s.ended(t); code != 0 || time.Since(began) > 5*time.Second {
		t.Errorf("exit code %d after %s: %s", code, time.Since(began), s.stderr)
	}
}

// TestRefusals: what can't be is said before anything is served, on the event
// pipe and on standard error.
func TestRefusals(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	with := func(edit func(*slirp.Config)) string {
		c := config(t)
		edit(&c)
		return text(t, c)
	}
	publish := func(spec string) string {
		p, err := slirp.ParsePublish(spec)
		if err != nil {
			t.Fatal(err)
		}
		return with(func(c *slirp.Config) { c.Publish = []slirp.Publish{p} })
	}
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, config, want string
		args               []string
		code               int
	}{
		{"no configuration", "", "reading the configuration", engineArgs, 1},
		{"an unknown field", `{"protocol":1,"shield":true}`, `unknown field "shield"`, engineArgs, 1},
		{"another protocol within", with(func(c *slirp.Config) { c.Protocol = 7 }), "protocol 7", engineArgs, 1},
		{"no address", with(func(c *slirp.Config) { c.IPv4, c.IPv6 = slirp.Addr{}, slirp.Addr{} }), "an IPv4 or an IPv6 address", engineArgs, 1},
		{"a port that is taken", publish(fmt.Sprintf("%d:80", taken.Addr().(*net.TCPAddr).Port)), "is taken by another program", engineArgs, 1},
		{"an address that the host lacks", publish("192.0.2.1:0:80"), "the host has no such address", engineArgs, 1},
		{"an audit file that is a link", with(func(c *slirp.Config) { c.Audit = slirp.Audit{Mode: "all", Path: link} }), "audit file", engineArgs, 1},
		{"an audit file that is a directory", with(func(c *slirp.Config) { c.Audit = slirp.Audit{Mode: "all", Path: dir} }), "audit file", engineArgs, 1},
		{"an audit file nowhere", with(func(c *slirp.Config) { c.Audit = slirp.Audit{Mode: "all", Path: dir + "/a/b"} }), "audit file", engineArgs, 1},
		{"a control socket that is not there", with(func(c *slirp.Config) { c.Control = true }), "control socket", engineArgs, 1},
		{"no protocol", "", "protocol 0 is asked for", []string{"engine"}, 2},
		{"another protocol", "", "protocol 2 is asked for, and this sbx-net speaks 1", []string{"engine", "--protocol", "2"}, 2},
		{"an unknown flag", "", "flag provided but not defined", []string{"engine", "--fast"}, 2},
		{"an argument", "", "takes no argument", []string{"engine", "--protocol", "1", "x"}, 2},
		{"an unknown command", "", `no command "dance"`, []string{"dance"}, 2},
		{"no command", "", "usage:", nil, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startAlone(t, tt.config, tt.args...)
			code := s.ended(t)
			if code != tt.code || !strings.Contains(s.stderr.String(), tt.want) {
				t.Errorf("exit code %d, want %d: %q; it should say %q", code, tt.code, s.stderr, tt.want)
			}
			var list []slirp.Event
			for e := range s.events {
				list = append(list, e)
			}
			told := slices.ContainsFunc(list, func(e slirp.Event) bool { return e.Event == slirp.EventError && strings.Contains(e.Message, tt.want) })
			if told != (tt.code == 1) {
				t.Errorf("events %+v", list)
			}
		})
	}
}

// TestPublishedEvent: the ports that were chosen are told before the engine is
// ready.
func TestPublishedEvent(t *testing.T) {
	c := config(t)
	for _, spec := range []string{"0:80", "0:53/udp"} {
		p, err := slirp.ParsePublish(spec)
		if err != nil {
			t.Fatal(err)
		}
		c.Publish = append(c.Publish, p)
	}
	s := startAlone(t, text(t, c), engineArgs...)
	list := s.await(t, slirp.EventReady)
	if len(list) != 3 {
		t.Fatalf("%+v", list)
	}
	for _, e := range list[:2] {
		if e.Event != slirp.EventPublished || e.Publish.HostPort == 0 || e.Publish.Address.String() != "127.0.0.1" {
			t.Errorf("%+v", e)
		}
	}
}

// TestNoDevice: what comes on the link must be a TUN device.
func TestNoDevice(t *testing.T) {
	s := startAlone(t, text(t, config(t)), engineArgs...)
	s.await(t, slirp.EventReady)
	if _, err := s.link.Write([]byte("x")); err != nil { // without a descriptor
		t.Fatal(err)
	}
	s.await(t, slirp.EventError)
	if code := s.ended(t); code != 1 || !strings.Contains(s.stderr.String(), "has 0 descriptors") {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
}
