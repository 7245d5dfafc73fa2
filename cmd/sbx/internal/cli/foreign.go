package cli

import "github.com/sbx-sandbox/sbx/profiles"

// Foreign are flags of podman, docker and bwrap that people's fingers know,
// with what does the same here. A flag that would do nothing is not accepted.
var Foreign = []struct{ Long, Short, instead string }{
	{"init", "", "every sandbox has an init, leave it out"},
	{"publish-all", "P", "name the ports with --publish"},
	{"ip", "", "a network of the sandbox's own always has the same addresses, leave it out"},
	{"privileged", "", `there is no such thing; grant what the command needs, or use the profile "open"`},
	{"cap-add", "", "the command keeps no capabilities; for those of fake root use --user=root"},
	{"cap-drop", "", "the command keeps no capabilities, leave it out"},
	{"gpus", "", "name the devices, as in --mount type=bind,source=/dev/dri,dev"},
	{"platform", "", "an image is of this machine's architecture, leave it out"},
	{"log-driver", "", "what a detached sandbox writes is kept for sbx logs; --log-max says how much"},
	{"log-opt", "", "use --log-max=SIZE"},
	{"volumes-from", "", "name the volume with --volume NAME:DST"},
	{"device", "", "use --mount type=bind,source=DEVICE,dev"},
	{"entrypoint", "", "name the command after --"},
	{"pull", "", "sbx image pull fetches images, and nothing else does"},
	{"pid", "", "processes are always the sandbox's own"},
	{"ipc", "", "use --set namespaces.ipc=private or host"},
	{"uts", "", "use --set namespaces.uts=private or host"},
	{"cgroupns", "", "use --set namespaces.cgroup=private or host"},
	{"cgroups", "", "use --set limits.cgroup=auto, always or never"},
	{"systemd", "", "use --set limits.delegate=true for control groups that systemd --user can work with; sbx is the sandbox's PID 1"},
	{"cgroup-manager", "", "use --set limits.cgroup=auto, always or never"},
	{"blkio-weight", "", "weights of devices take a scheduler that root chooses; use --device-read-bps and --device-write-bps"},
	{"memory-swap", "", "use --set limits.swap=SIZE, which is the swap alone"},
	{"memory-reservation", "", "use --set limits.memory_high=SIZE, from which on the sandbox is slowed down"},
	{"cpu-quota", "", "use --cpus=N"},
	{"cpu-period", "", "use --cpus=N"},
	{"oom-kill-disable", "", "control groups of version 2 have no such thing; --set limits.oom_kill=process kills one process alone"},
	{"oom-score-adj", "", "use --set process.oom_score_adj=N"},
	{"umask", "", "use --set process.umask=OCTAL"},
	{"bind", "", "use --volume SRC:DST:rw"},
	{"ro-bind", "", "use --volume SRC:DST"},
	{"unshare-net", "", "use --network=none, which is the default"},
	{"share-net", "", "use --network=host"},
	{"setenv", "", "use --env NAME=VALUE"},
	{"chdir", "", "use --workdir DIR"},
	{"json", "", "use --json-errors for failures, or sbx explain --json"},
}

// ForeignVerb says what does the same as a verb of docker or podman that sbx has
// under another name or not at all, "" for any other.
func ForeignVerb(verb string) string {
	const runs = "there is no sandbox that does not run; sbx run -d starts one"
	switch verb {
	case "images":
		return "use sbx image ls"
	case "rmi":
		return "use sbx image rm"
	case "load":
		return "use sbx image import"
	case "save":
		return "use sbx image export"
	case "push", "search":
		return "other tools find images and spread them; sbx image export writes one for them"
	case "login", "logout":
		return "what podman login keeps is used by sbx image pull"
	case "create", "start":
		return runs
	case "container", "pod":
		return "verbs are about sandboxes by themselves, as in sbx ps"
	case "info", "system":
		return "use sbx doctor"
	case "network connect", "network disconnect":
		return "a sandbox is in its networks from its start to its end, as in sbx run --network=network:NAME,OTHER"
	case "network prune":
		return "name them: sbx network rm keeps what somebody is in"
	case "build":
		return "build with what you have, then sbx image import, or sbx image commit a sandbox"
	}
	return ""
}

// nearFlag is the flag that name is a slip of, or "".
func nearFlag(name string, names []string) string {
	if len(name) == 1 {
		return "" // a letter is near to everything
	}
	return profiles.Nearest(name, names)
}
