package doctor

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/sbx-sandbox/sbx/sandbox/host"
)

func TestRemedy(t *testing.T) {
	check := func(fix string) Check {
		return Check{Name: "x", State: CheckMissing, Why: "a\nb", Fix: fix, Admin: true}
	}
	for _, tt := range []struct {
		check Check
		want  string // after the comment that names the check
	}{
		{check("an administrator can run: modprobe fuse; in a container, pass the device in"), "modprobe fuse\n# in a container, pass the device in\n"},
		{check("an administrator can install the package passt"), "apt-get install -y passt\n"},
		{check("a kernel of Linux 6.12 or later"), "# a kernel of Linux 6.12 or later\n"},
		{check(fmt.Sprintf(dropIn, 1000)), "mkdir -p /etc/systemd/system/user@.service.d\nprintf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' >/etc/systemd/system/user@.service.d/delegate.conf\nsystemctl daemon-reload\n# and you log out and in again, or they run: systemctl restart user@1000.service\n"},
		{check(appArmorFix()), "cat >/etc/apparmor.d/sbx <<'END'\n"},
		{check("an administrator can run: echo user.max_user_namespaces=15000 >/etc/sysctl.d/60-sbx.conf; sysctl --system"), "echo user.max_user_namespaces=15000 >/etc/sysctl.d/60-sbx.conf; sysctl --system\n"},
		{subordinateIDs(host.Facts{User: "u", RangeErr: fmt.Errorf("none")}), "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 u\n"},
		{Check{Name: "x", State: CheckDegraded, Fix: "run: chmod 700 /run/x"}, "# not for an administrator: run: chmod 700 /run/x\n"},
	} {
		got := Remedy([]Check{ok("kernel", ""), tt.check}, "apt-get install -y")
		if !strings.Contains(got, tt.want) || strings.Contains(got, "kernel,") {
			t.Errorf("%q: got\n%s\nwant in it\n%s", tt.check.Fix, got, tt.want)
		}
		sh := exec.Command("sh", "-n")
		sh.Stdin = strings.NewReader(got)
		if out, err := sh.CombinedOutput(); err != nil {
			t.Errorf("%q is no script: %v %s\n%s", tt.check.Fix, err, out, got)
		}
	}
	if got := Remedy([]Check{ok("kernel", "")}, ""); got != "# nothing is missing\n" {
		t.Errorf("%q", got)
	}
}
