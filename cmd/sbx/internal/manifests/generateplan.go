package manifests

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/decision"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/options"
	"github.com/sbx-sandbox/sbx/cmd/sbx/internal/sandboxes"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/export"
	"github.com/sbx-sandbox/sbx/sandbox/state"
)

// KubeCommand is the verb generate kube.
func KubeCommand() cli.Command {
	return cli.Command{
		Name: "generate kube", Args: "[FLAGS] NAME | PROFILE | -- RUN-ARGUMENT...", Summary: "print a Pod that is like a sandbox",
		Long: "Print the manifest of a Pod, for podman kube play and kubectl, that comes as near as it can to the sandbox NAME, or to what sbx run with the arguments after -- would start. " +
			"What a Pod can't say is listed on standard error: it is much of what makes a sandbox one. Of a sandbox that runs the values of variables are not known any more.",
		Example: "sbx generate kube web\nsbx generate kube -- --network=user build make test",
		Words:   sandboxes.FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			image := "docker.io/library/debian:stable-slim"
			cli.AddFlag(fs, cli.Flag{Name: "image", Arg: "IMAGE", Group: cli.GroupOutput, Usage: "what a Pod without an image of its own gets", Set: cli.FileName(&image)})
			return func(inv *cli.Invocation) error {
				plan, name, err := generated(inv)
				if err != nil {
					return err
				}
				text, unsaid := export.ToKube(plan, name, image)
				if _, err := fmt.Fprint(inv.Out, text); err != nil {
					return err
				}
				return nameUnsaid(inv, "a Pod", unsaid)
			}
		},
	}
}

// OCICommand is the verb generate oci.
func OCICommand() cli.Command {
	return cli.Command{
		Name: "generate oci", Args: "[FLAGS] NAME | PROFILE | -- RUN-ARGUMENT...", Summary: "write a bundle for crun and runc that is like a sandbox",
		Long: "Write a bundle of the OCI's runtime specification (config.json, rootfs) to a new directory, or with - its config.json alone to standard output. It comes as near as it can to the sandbox NAME, " +
			"or to what sbx run with the arguments after -- would start. What a bundle can't say is listed on standard error. Of a sandbox that runs the values of variables are not known any more.",
		Example: "sbx generate oci -o bundle -- build make test\nsbx generate oci -o - web",
		Words:   sandboxes.FirstName,
		Flags: func(fs *pflag.FlagSet) func(*cli.Invocation) error {
			dir := ""
			cli.AddFlag(fs, cli.Flag{Name: "output", Short: "o", Arg: "DIR", Group: cli.GroupOutput, Usage: "the new directory of the bundle; - for config.json on standard output", Words: []string{"@dir"}, Set: cli.FileName(&dir)})
			return func(inv *cli.Invocation) error {
				if dir == "" {
					return cli.Usagef("where to? sbx generate oci -o DIR, or -o -")
				}
				plan, _, err := generated(inv)
				if err != nil {
					return err
				}
				b, err := export.ToOCI(plan)
				if err != nil {
					return err
				}
				if dir == "-" {
					err = inv.PrintJSON(b.Config)
				} else {
					err = writeBundle(b, dir)
				}
				if err != nil {
					return err
				}
				return nameUnsaid(inv, "a bundle", b.Unsaid)
			}
		},
	}
}

// nameUnsaid lists what was lost.
func nameUnsaid(inv *cli.Invocation, what string, list []string) error {
	for _, text := range list {
		inv.Warn("%s can't say: %s", what, text)
	}
	return nil
}

// meant is the sandbox that the arguments name. Those that are of sbx run, after --
// or a profile's name that no sandbox has, mean none that is running.
func meant(inv *cli.Invocation) (r state.Record, running bool, err error) {
	if inv.Dash == 0 && len(inv.Args) > 0 {
		return r, false, nil
	}
	if err := inv.Max(1); err != nil {
		return r, false, err
	}
	r, err = sandboxes.One(inv)
	var none *state.NotFoundError
	if errors.As(err, &none) {
		if _, wrong := profiles.Find(inv.Args[0], profiles.HostEnv()); wrong == nil {
			return r, false, nil
		}
	}
	return r, err == nil, err
}

// generated is the plan that is meant: of a sandbox that runs, or of a command
// line of run.
func generated(inv *cli.Invocation) (plan *sandbox.Plan, name string, err error) {
	r, running, err := meant(inv)
	if err != nil {
		return nil, "", err
	}
	if running {
		plan, err := sandboxes.PlanOf(&r)
		return plan, r.Name, err
	}
	verb := cli.Command{Name: options.RunVerb, Runs: true, Strict: true}
	fs := pflag.NewFlagSet(verb.Name, pflag.ContinueOnError)
	fs.SetInterspersed(false)
	o := options.RunFlags(fs)
	o.Life = options.LifeFlags(fs)
	if err := fs.Parse(inv.Args); err != nil {
		return nil, "", cli.FlagError(fs, err)
	}
	own := *inv
	of := decision.Run{Invocation: &own}
	of.Args, of.Dash, of.Verb = fs.Args(), fs.ArgsLenAtDash(), &verb
	ref, argv, err := of.ProfileAndCommand()
	if err != nil {
		return nil, "", err
	}
	prof, err := of.Load(ref)
	if err != nil {
		return nil, "", err
	}
	if err := profiles.CheckTrust(prof, nil, of.Env); err != nil {
		return nil, "", err
	}
	if prof, err = of.Override(prof, o); err != nil {
		return nil, "", err
	}
	o.Explain = true // nothing is made
	plan, err = of.Foresee(prof, argv, o)
	return plan, prof.Name, err
}

// writeBundle makes a bundle's directory.
func writeBundle(b *export.Bundle, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root := filepath.Join(dir, "rootfs")
	dirs := []string{root, filepath.Join(dir, "files")}
	for _, d := range b.Dirs {
		dirs = append(dirs, filepath.Join(root, d))
	}
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for at, to := range b.Links {
		if err := os.Symlink(to, filepath.Join(root, at)); err != nil {
			return err
		}
	}
	for name, content := range b.Files {
		if err := options.WriteNew(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(&b.Config, "", "  ")
	if err != nil {
		return err
	}
	return options.WriteNew(filepath.Join(dir, "config.json"), string(text)+"\n")
}
