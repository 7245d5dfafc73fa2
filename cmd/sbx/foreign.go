package main

import "github.com/sbx-sandbox/sbx/profiles"

// foreign are flags of podman, docker and bwrap that people's fingers know,
// with what does the same here. A flag that would do nothing is not accepted.
var foreign = []struct{ long, short, instead string }{
	{"interactive", "i", "standard input is always passed on, leave it out"},
	{"detach", "d", "a sandbox stays in the foreground; append </dev/null & in your shell"},
	{"rm", "", "nothing is kept after a run, leave it out"},
	{"init", "", "every sandbox has an init, leave it out"},
	{"publish", "p", `the network is "none" or the host's, there are no ports to publish`},
	{"privileged", "", `there is no such thing; grant what the command needs, or use the profile "open"`},
	{"cap-add", "", "the command keeps no capabilities; for those of fake root use --user=root"},
	{"cap-drop", "", "the command keeps no capabilities, leave it out"},
	{"device", "", "use --mount type=bind,source=DEVICE,dev"},
	{"entrypoint", "", "name the command after --"},
	{"label", "l", "sandboxes have no labels"},
	{"pull", "", "there are no images; root.source says what / is made of"},
	{"pid", "", "processes are always the sandbox's own"},
	{"ipc", "", "use --set namespaces.ipc=private or host"},
	{"uts", "", "use --set namespaces.uts=private or host"},
	{"cgroupns", "", "use --set namespaces.cgroup=private or host"},
	{"cpus", "", "limits on processors need control groups, which this version does not use"},
	{"shm-size", "", "use --set root.shm=SIZE"},
	{"stop-signal", "", "use --set process.stop_signal=SIGNAL"},
	{"umask", "", "use --set process.umask=OCTAL"},
	{"bind", "", "use --volume SRC:DST:rw"},
	{"ro-bind", "", "use --volume SRC:DST"},
	{"unshare-net", "", "use --network=none, which is the default"},
	{"share-net", "", "use --network=host"},
	{"setenv", "", "use --env NAME=VALUE"},
	{"chdir", "", "use --workdir DIR"},
	{"json", "", "use --json-errors for failures, or sbx explain --json"},
}

// nearFlag is the flag that name is a slip of, or "".
func nearFlag(name string, names []string) string {
	if len(name) == 1 {
		return "" // a letter is near to everything
	}
	return profiles.Nearest(name, names)
}
