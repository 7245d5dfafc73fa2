package access

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox/control"
)

// TestKeysAtEnd: what only begins like the keys that detach is the command's, also where
// nothing follows it.
func TestKeysAtEnd(t *testing.T) {
	var typed, in [2]int
	for _, p := range []*[2]int{&typed, &in} {
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
	}
	defer unix.Close(in[0])
	defer unix.Close(typed[0])
	keys, err := parseKeys(defaultKeys)
	if err != nil {
		t.Fatal(err)
	}
	a := attached{conn: control.Over(-1), from: typed[0], in: in[1], fed: true, keys: keys}
	buf := make([]byte, 64)
	if _, err := unix.Write(typed[1], []byte("a\x10b\x10")); err != nil {
		t.Fatal(err)
	}
	detach := a.input(buf, false)
	unix.Close(typed[1])
	if detach = a.input(buf, true) || detach; detach {
		t.Error("it detaches")
	}
	if n, err := unix.Read(in[0], buf); err != nil || string(buf[:n]) != "a\x10b\x10" {
		t.Errorf("the command has %q, %v", buf[:max(n, 0)], err)
	}
	if n, err := unix.Read(in[0], buf); n != 0 || err != nil {
		t.Errorf("then %d bytes, %v", n, err)
	}
}
