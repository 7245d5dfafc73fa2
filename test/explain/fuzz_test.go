package explain

import (
	"os"
	"strings"
	"testing"
)

// FuzzMounts: the parser that the comparison relies on takes any text, and
// finds a mount again whatever its target is called (proc_pid_mountinfo(5):
// space, tab, newline and backslash are octal).
func FuzzMounts(f *testing.F) {
	own, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(own), "/plain")
	f.Add("", "/a b\\c\nd\te")
	f.Add("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n", "/\\040")
	f.Add("1 2\n- - -\n", "")
	escape := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`)
	f.Fuzz(func(t *testing.T, text, target string) {
		mounts(text)
		line := "36 35 98:0 / " + escape.Replace(target) + " rw,nosuid - tmpfs tmpfs rw\n"
		got := mounts(line)
		if len(got) != 1 || got[0].target != target {
			t.Errorf("%q is read as %+v", line, got)
		}
	})
}
