package nets

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/state"
	"github.com/sbx-sandbox/sbx/slirp"
)

// offered is one port of a sandbox that the host offers.
type offered struct {
	Port     uint16 `json:"port"` // inside
	Protocol string `json:"protocol"`
	HostIP   string `json:"host_ip"`
	HostPort uint16 `json:"host_port"`
}

// PortCommand is the verb port.
func PortCommand() cli.Command {
	return cli.Command{
		Name: "port", Args: "[FLAGS] NAME [PORT[/PROTOCOL]]", Summary: "list the ports of a sandbox that the host offers",
		Long: "List the ports of a sandbox that can be reached on the host, as network.publish and --publish have it, or where a single one of them can be reached. " +
			"A port of the host that was left to sbx to choose is the one that was chosen.",
		Example: "sbx port web\nsbx port web 8000\nsbx port web 53/udp",
		Words:   sandboxes.FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var format string
			cli.FormatFlag(fs, &format, "", "'{{.HostPort}}'")
			return func(inv *cli.Invocation) error {
				if err := inv.Max(2); err != nil {
					return err
				}
				return port(inv, format)
			}
		},
	}
}

func port(inv *cli.Invocation, format string) error {
	r, err := sandboxes.One(inv)
	if err != nil {
		return err
	}
	if !r.Alive() {
		return sandboxes.NotRunning(&r)
	}
	ports, err := published(inv, &r)
	if err != nil {
		return err
	}
	one := len(inv.Args) > 1
	if one {
		if ports, err = onlyPort(ports, inv.Args[1], r.Name); err != nil {
			return err
		}
	}
	if format == "" { // docker's form, of a line each
		for _, p := range ports {
			at := p.HostIP
			if strings.Contains(at, ":") {
				at = "[" + at + "]"
			}
			text := fmt.Sprintf("%s:%d", at, p.HostPort)
			if !one {
				text = fmt.Sprintf("%d/%s -> %s", p.Port, p.Protocol, text)
			}
			if _, err := fmt.Fprintln(inv.Out, text); err != nil {
				return err
			}
		}
		return nil
	}
	return cli.List(inv, ports, format, nil)
}

// onlyPort is where one port can be reached, at several addresses perhaps.
func onlyPort(list []offered, which, name string) ([]offered, error) {
	text, protocol, given := strings.Cut(which, "/")
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || given && protocol != "tcp" && protocol != "udp" {
		return nil, cli.Usagef("%q is no port, write 8000, or 53/udp", which)
	}
	if !given {
		protocol = "tcp"
	}
	var found []offered
	for _, p := range list {
		if p.Port == uint16(n) && p.Protocol == protocol {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s publishes no port %d/%s; sbx port %s lists those it does", name, n, protocol, name)
	}
	return found, nil
}

// published is what the network's program offers, or where it can't be asked
// what it was told to.
func published(inv *cli.Invocation, r *state.Record) ([]offered, error) {
	plan, err := sandboxes.PlanOf(r)
	if err != nil {
		return nil, err
	}
	list := plan.Net.Config.Publish
	if plan.Net.Backend == sandbox.BackendEngine {
		c, err := Connect(inv)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		answer, err := c.Ask(slirp.Request{Op: slirp.OpPorts})
		if err != nil {
			return nil, err
		}
		list = answer.Publish
	}
	ports := []offered{}
	for _, p := range list {
		for i := range uint16(p.Ports()) {
			ports = append(ports, offered{p.Port + i, p.Protocol, p.Address.String(), p.HostPort + i})
		}
	}
	return ports, nil
}
