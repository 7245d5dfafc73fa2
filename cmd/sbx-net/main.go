// Command sbx-net is the network of a sandbox: the process outside to which the
// sandbox's TUN device leads. sbx starts it when a profile wants mode "user"; it
// is of no use by itself. How it is spoken to is in package slirp.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sbx-sandbox/sbx/slirp"
)

var version = "unknown" // set by the linker

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

const usage = `usage: sbx-net engine --protocol N
       sbx-net names --protocol N
       sbx-net forward --protocol N
       sbx-net network --protocol N
       sbx-net version

sbx starts sbx-net; by hand there is nothing to be done with it.
`

func run(args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(errs, usage)
		return 2
	}
	switch args[0] {
	case "version", "--version":
		fmt.Fprintf(out, "sbx-net %s\nprotocol %d\n", version, slirp.Protocol)
		return 0
	case "namespace": // of sbx-net network
		return namespace(errs)
	case slirp.ModeEngine, slirp.ModeNames, slirp.ModeForward, slirp.ModeNetwork:
		if err := protocolArgs(args); err != nil {
			fmt.Fprintln(errs, "sbx-net:", err)
			return 2
		}
		switch args[0] {
		case slirp.ModeForward:
			return forward(in, errs)
		case slirp.ModeNetwork:
			return keepNetwork(in, errs)
		}
		return serve(args[0], in, errs)
	case "-h", "--help", "help":
		fmt.Fprint(out, usage)
		return 0
	}
	fmt.Fprintf(errs, "sbx-net: there is no command %q\n%s", args[0], usage)
	return 2
}

// protocolArgs checks what follows a command of the protocol.
func protocolArgs(args []string) error {
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	protocol := flags.Int("protocol", 0, "")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s takes no argument, but got %s", args[0], strings.Join(flags.Args(), " "))
	}
	if *protocol != slirp.Protocol {
		return fmt.Errorf("protocol %d is asked for, and this sbx-net speaks %d; install sbx and its libexec programs of one version", *protocol, slirp.Protocol)
	}
	return nil
}
