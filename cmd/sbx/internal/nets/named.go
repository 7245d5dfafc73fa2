package nets

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/sandbox/host"
	"github.com/sbx-sandbox/sbx/sandbox/networks"
	"github.com/sbx-sandbox/sbx/slirp"
)

// Store is where named networks are kept.
func Store(inv *cli.Invocation) (networks.Store, error) { return sandboxes.Networks(inv) }

// Names are the named networks that there are.
func Names([]string) []cli.Candidate {
	store, err := Store(&cli.Invocation{})
	if err != nil {
		return nil
	}
	records, _ := store.List()
	var list []cli.Candidate
	for _, r := range records {
		list = append(list, cli.Candidate{Word: r.Name, Doc: r.IPv4.String()})
	}
	return list
}

// NetworkCreateCommand is the verb network create.
func NetworkCreateCommand() cli.Command {
	return cli.Command{
		Name: "network create", Args: "[FLAGS] NAME", Summary: "make a network that sandboxes can share",
		Long: "Make the network NAME. Sandboxes with --network=network:NAME are in it, each with an address of its own, and find one another by name. " +
			"What leads out of it, and for whom, is each sandbox's own rules to say. It takes nothing of the host while no sandbox is in it.",
		Example: "sbx network create dev\nsbx network create --internal --isolate --hub=db jobs",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			var r networks.Record
			cli.AddSwitch(fs, &r.Internal, "internal", "", cli.GroupNetwork, "nothing leads out, whatever the rules of who is in it say")
			cli.AddSwitch(fs, &r.Isolated, "isolate", "", cli.GroupNetwork, "members don't reach one another, but for those of --hub")
			cli.AddFlag(fs, cli.Flag{Name: "hub", Arg: "NAME", Group: cli.GroupNetwork, Usage: "with --isolate, the name of a member whom all reach", Set: func(s string) error {
				name := slirp.MemberName(s)
				if name == "" {
					return fmt.Errorf("%q is no name of a member: use letters, digits and hyphens, and no dot", s)
				}
				r.Hubs = append(r.Hubs, name)
				return nil
			}})
			cli.AddFlag(fs, cli.Flag{Name: "subnet", Arg: "PREFIX", Group: cli.GroupNetwork, Usage: "addresses, such as 10.89.7.0/24, that nothing else has; a free one of 10.89.0.0/16 without", Set: func(s string) (err error) {
				r.IPv4, err = netip.ParsePrefix(s)
				if err != nil {
					err = fmt.Errorf("%q is no subnet, write one as in 10.89.7.0/24", s)
				}
				return err
			}})
			return func(inv *cli.Invocation) error {
				if len(inv.Args) == 0 {
					return cli.Usagef("what is it to be called? usage: sbx %s", inv.Verb.Usage())
				}
				if err := inv.Max(1); err != nil {
					return err
				}
				if len(r.Hubs) > 0 && !r.Isolated {
					return cli.Usagef("--hub is an exception from --isolate, which is not there")
				}
				return networkCreate(inv, inv.Args[0], r)
			}
		},
	}
}

func networkCreate(inv *cli.Invocation, name string, r networks.Record) error {
	store, err := Store(inv)
	if err != nil {
		return err
	}
	if err := networks.CheckName(name); err != nil {
		return cli.WrongUsage(err)
	}
	r.Name = name
	if _, err := store.Create(r, host.Routes()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(inv.Out, name)
	return err
}

// networkLine is a named network as ls and inspect print it.
type networkLine struct {
	networks.Record
	Members []slirp.Member `json:"members"`
}

func lineOf(inv *cli.Invocation, store networks.Store, r networks.Record) (networkLine, error) {
	members, err := store.Members(r.Name)
	if members == nil {
		members = []slirp.Member{}
	}
	return networkLine{r, members}, err
}

// NetworkLsCommand is the verb network ls.
func NetworkLsCommand() cli.Command {
	return cli.Command{
		Name: "network ls", Args: "[FLAGS]", Summary: "list the networks that sandboxes can share",
		Long:    "List the networks that sbx network create made: name, subnet, what is special about it, and who is in it.",
		Example: "sbx network ls\nsbx network ls --format=json",
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			return cli.TextOrJSON(fs, 0, networkLs)
		},
	}
}

func networkLs(inv *cli.Invocation, asJSON bool) error {
	store, err := Store(inv)
	if err != nil {
		return err
	}
	records, err := store.List()
	errs := []error{err}
	lines := []networkLine{}
	for _, r := range records {
		l, err := lineOf(inv, store, r)
		var gone *networks.NotFoundError
		if errors.As(err, &gone) {
			continue
		}
		errs = append(errs, err)
		lines = append(lines, l)
	}
	if asJSON {
		err = inv.PrintJSON(struct {
			Schema   int           `json:"schema"`
			Networks []networkLine `json:"networks"`
		}{1, lines})
		return errors.Join(append(errs, err)...)
	}
	rows := [][]string{{"NAME", "SUBNET", "OPTIONS", "MEMBERS"}}
	for _, l := range lines {
		var who []string
		for _, m := range l.Members {
			who = append(who, m.Name)
		}
		rows = append(rows, []string{l.Name, l.IPv4.String(), networkOptions(&l.Record), strings.Join(who, ",")})
	}
	return errors.Join(append(errs, inv.Table(rows))...)
}

func networkOptions(r *networks.Record) string {
	var list []string
	if r.Internal {
		list = append(list, "internal")
	}
	if r.Isolated {
		list = append(list, "isolated")
	}
	for _, h := range r.Hubs {
		list = append(list, "hub="+h)
	}
	return strings.Join(list, ",")
}

// NetworkInspectCommand is the verb network inspect.
func NetworkInspectCommand() cli.Command {
	return cli.Command{
		Name: "network inspect", Args: "NAME...", Summary: "print a network and its members as JSON",
		Long:    "Print each network NAME as JSON: its record, and who is in it, with names and addresses.",
		Example: "sbx network inspect dev",
		Words:   Names,
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				lines := []networkLine{}
				err := eachNetwork(inv, func(store networks.Store, name string) error {
					r, err := store.Load(name)
					if err != nil {
						return err
					}
					l, err := lineOf(inv, store, r)
					if err == nil {
						lines = append(lines, l)
					}
					return err
				})
				if len(inv.Args) > 0 {
					err = errors.Join(err, inv.PrintJSON(lines))
				}
				return err
			}
		},
	}
}

// NetworkRmCommand is the verb network rm.
func NetworkRmCommand() cli.Command {
	return cli.Command{
		Name: "network rm", Args: "NAME...", Summary: "remove networks that nobody is in",
		Long:    "Remove each network NAME. One that a sandbox is in stays.",
		Example: "sbx network rm dev",
		Words:   Names,
		Flags: func(*pflag.FlagSet) func(*cli.Invocation) error {
			return func(inv *cli.Invocation) error {
				return eachNetwork(inv, func(store networks.Store, name string) error {
					err := store.Remove(name)
					if err == nil {
						fmt.Fprintln(inv.Out, name)
					}
					return err
				})
			}
		},
	}
}

// eachNetwork does something to every network that is named; one that fails does
// not keep the others.
func eachNetwork(inv *cli.Invocation, do func(networks.Store, string) error) error {
	if len(inv.Args) == 0 {
		return cli.Usagef("which network? usage: sbx %s", inv.Verb.Usage())
	}
	store, err := Store(inv)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range inv.Args {
		errs = append(errs, do(store, name))
	}
	return errors.Join(errs...)
}
