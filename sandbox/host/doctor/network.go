package doctor

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/sbx-sandbox/sbx/sandbox/host"
)

// networks checks what a network of the sandbox's own takes.
func networks(f host.Facts) []Check {
	f.FindNetwork("auto")
	tun := ok("tun", host.TunDevice)
	if f.Net.Tun != nil {
		tun = missing("tun", fmt.Sprintf("opening %s: %v; network.mode = \"user\" can't be had", host.TunDevice, f.Net.Tun), host.TunFix(f.Net.Tun), true)
	}
	engine := ok("sbx-net", f.Net.Engine)
	if f.Net.EngineErr != nil {
		engine = missing("sbx-net", f.Net.EngineErr.Error(), "install sbx with all its programs: make install", false)
	}
	return []Check{tun, engine, versioned(program("pasta", "passt")), versioned(program("slirp4netns", "slirp4netns"))}
}

// versioned adds to a program that is there what it says of itself.
func versioned(c Check) Check {
	if c.State != CheckOK {
		return c
	}
	cmd := exec.Command(c.Why, "--version")
	cmd.Env = []string{"LC_ALL=C"}
	out, err := cmd.Output()
	if err != nil {
		c.State, c.Why, c.Fix, c.Admin = CheckDegraded, fmt.Sprintf("%s --version: %v", c.Why, err), "an administrator can install the package anew", true
		return c
	}
	line, _, _ := strings.Cut(string(out), "\n")
	c.Why += ", " + strings.TrimSpace(line)
	return c
}
