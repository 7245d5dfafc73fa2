package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/access"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/catalogue"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/changes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/diagnosis"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/explanation"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/images"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/launch"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/manifests"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/nets"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/overlays"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/project"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/shells"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/takeover"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/usage"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/wrapping"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox/run"
)

// commands are in the order that help lists them. It is a function, so that
// nothing is built at start-up for verbs that are not called.
func commands() []cli.Command {
	return []cli.Command{
		launch.RunCommand(), shells.ShellCommand(), shells.ShCommand(), shells.LspCommand(), shells.UpCommand(), shells.DownCommand(), project.StatusCommand(), sandboxes.PsCommand(), access.ExecCommand(), access.LogsCommand(), sandboxes.StopCommand(), sandboxes.KillCommand(), sandboxes.WaitCommand(), sandboxes.RmCommand(),
		sandboxes.RestartCommand(), sandboxes.PauseCommand(), sandboxes.UnpauseCommand(), usage.UpdateCommand(), sandboxes.RenameCommand(), access.AttachCommand(), sandboxes.InspectCommand(), usage.TopCommand(), usage.StatsCommand(), access.EventsCommand(), nets.PortCommand(), access.ForwardCommand(), access.CpCommand(), sandboxes.GrantCommand(), sandboxes.RevokeCommand(), sandboxes.GrantsCommand(), manifests.SystemdCommand(), manifests.KubeCommand(), manifests.OCICommand(), explanation.ExplainCommand(), explanation.WhyCommand(), diagnosis.DoctorCommand(),
		catalogue.LsCommand(), catalogue.ShowCommand(), catalogue.InitCommand(), catalogue.CheckCommand(), catalogue.SchemaCommand(),
		changes.DiffCommand(), takeover.ApplyCommand(), changes.CompareCommand(),
		overlays.DiscardCommand(), overlays.SnapshotCommand(), overlays.RestoreCommand(), overlays.ForkCommand(), overlays.LsCommand(), overlays.RmCommand(),
		overlays.VolumeLsCommand(), overlays.VolumeRmCommand(), overlays.VolumePruneCommand(),
		images.ImportCommand(), images.PullCommand(), images.ExportCommand(), images.LsCommand(), images.InspectCommand(), images.RmCommand(), images.PruneCommand(), images.TagCommand(), images.CommitCommand(),
		nets.NetLsCommand(), nets.NetTopCommand(), nets.NetLogCommand(), nets.NetAllowCommand(), nets.NetDenyCommand(), nets.NetRmCommand(),
		nets.NetworkCreateCommand(), nets.NetworkLsCommand(), nets.NetworkInspectCommand(), nets.NetworkRmCommand(),
		catalogue.TrustCommand(), catalogue.UntrustCommand(),
		wrapping.InstallCommand(), wrapping.LsCommand(), wrapping.StatusCommand(), wrapping.RmCommand(), wrapping.ShimCommand(), shells.HookCommand(), project.EditorCommand(),
		shells.CompletionCommand(), completeCommand(), superviseCommand(), diagnosis.ProbeCommand(), overlays.WithinCommand(), amongCommand(), versionCommand(), helpCommand(),
	}
}

// sbx is the program: it finds the verb, parses its flags and runs it.
func sbx(args []string, out, errw io.Writer) (code int) {
	defer run.Settle()
	defer func() {
		if bug := recover(); bug != nil {
			code = crashed(errw, bug)
		}
	}()
	inv := &cli.Invocation{Out: out, Err: errw}
	if err := dispatch(inv, args); err != nil {
		return inv.Report(err)
	}
	return inv.Status
}

// crashed reports a panic. The status is sbx's own, as 2 could be the command's;
// the sandbox ends with this process.
func crashed(errw io.Writer, bug any) int {
	stack := make([]byte, 64<<10)
	fmt.Fprintf(errw, "sbx: BUG: %v; please report it with what follows\n%s", bug, stack[:runtime.Stack(stack, false)])
	return cli.ExitSbx
}

// dispatch finds the verb in args and runs it.
func dispatch(inv *cli.Invocation, args []string) error {
	if len(args) == 0 {
		return cli.Usagef("which verb? try sbx help")
	}
	switch args[0] {
	case "-h", "--help":
		args = append([]string{"help"}, args[1:]...)
	case "-V", "--version":
		args = append([]string{"version"}, args[1:]...)
	}
	verbs := commands()
	c, rest := match(verbs, args)
	if c == nil && len(args) == 2 && (args[1] == "-h" || args[1] == "--help") && family(inv.Out, verbs, args[:1]) {
		return nil
	}
	if c == nil {
		return unknownVerb(verbs, args)
	}
	inv.Verb, inv.Words = c, args
	return c.Call(rest, inv)
}

// match finds the verb that args begin with, and what follows it.
func match(verbs []cli.Command, args []string) (*cli.Command, []string) {
	for i := range verbs {
		first, second, two := strings.Cut(verbs[i].Name, " ")
		switch {
		case args[0] != first:
		case !two:
			return &verbs[i], args[1:]
		case len(args) > 1 && args[1] == second:
			return &verbs[i], args[2:]
		}
	}
	return nil, args
}

// unknownVerb says what is wrong with args, which no verb matches. The first
// word of a verb of two words asks for the second.
func unknownVerb(verbs []cli.Command, args []string) error {
	var names, seconds []string
	for i := range verbs {
		if verbs[i].Hidden {
			continue
		}
		first, second, two := strings.Cut(verbs[i].Name, " ")
		names = append(names, first)
		if two && first == args[0] {
			seconds = append(seconds, second)
		}
	}
	if len(seconds) > 0 {
		if len(args) == 1 {
			return cli.Usagef("sbx %s what? one of %s", args[0], strings.Join(seconds, ", "))
		}
		if instead := cli.ForeignVerb(args[0] + " " + args[1]); instead != "" {
			return cli.Usagef("no such verb: %s %s; %s", args[0], args[1], instead)
		}
		return cli.Usagef("no such verb: %s %s%s; one of %s", args[0], args[1], cli.Meant(args[1], seconds), strings.Join(seconds, ", "))
	}
	if strings.HasPrefix(args[0], "-") {
		return cli.Usagef("no such flag: %s; flags follow the verb, as in sbx run %s", args[0], args[0])
	}
	if instead := cli.ForeignVerb(args[0]); instead != "" {
		return cli.Usagef("no such verb: %s; %s", args[0], instead)
	}
	var longer []string
	for _, v := range verbs {
		if strings.HasSuffix(v.Name, " "+args[0]) && !v.Hidden {
			longer = append(longer, v.Name)
		}
	}
	if len(longer) > 0 {
		return cli.Usagef("no such verb: %s (did you mean %s?); try sbx help", args[0], strings.Join(longer, ", "))
	}
	if strings.HasSuffix(args[0], ".toml") {
		return cli.Usagef("no such verb: %s; try sbx help, or sbx run %s", args[0], args[0])
	}
	if near := profiles.Nearest(args[0], names); near != "" {
		return cli.Usagef("no such verb: %s (did you mean %s?); try sbx help", args[0], near)
	}
	return cli.Usagef("no such verb: %s; try sbx help, or sbx run -- %s", args[0], args[0])
}
