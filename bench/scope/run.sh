#!/bin/sh
# What a sandbox's control group costs a start, interleaved: bench/scope/run.sh PAIR SBX
# [FLAGS of pair]. As somebody who has a systemd; where there is none, as root in
# test/vm/fast.sh: see bench/README.md. Where the group has no controllers it costs
# the same, as nobody waits for the kernel to apply a limit.
set -e
pair=$(realpath "$1") sbx=$(realpath "$2")
shift 2
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
(cd "$dir" && "$sbx" run -q --set limits.cgroup=always --require=cgroup -- true) || exit # it has said why there is none
cat >"$dir/candidates.json" <<END
[
  {"name": "sbx", "requires": ["{sbx}"], "in": ["start"], "argv": ["{sbx}", "run", "-q", "--env-file=/dev/null", "--", "/bin/true"]},
  {"name": "sbx again", "requires": ["{sbx}"], "in": ["start"], "argv": ["{sbx}", "run", "-q", "--env-file=/dev/null", "--", "/bin/true"], "note": "the same: what differs is noise"},
  {"name": "limit of a process", "requires": ["{sbx}"], "in": ["start"], "argv": ["{sbx}", "run", "-q", "--env-file=/dev/null", "--pids-limit=500", "--", "/bin/true"], "note": "a limit that takes no group"},
  {"name": "group", "requires": ["{sbx}"], "in": ["start"], "argv": ["{sbx}", "run", "-q", "--env-file=/dev/null", "--set", "limits.cgroup=always", "--", "/bin/true"], "note": "a scope by the user's systemd"},
  {"name": "group, delegated", "requires": ["{sbx}"], "in": ["start"], "argv": ["{sbx}", "run", "-q", "--env-file=/dev/null", "--set", "limits.delegate=true", "--", "/bin/true"], "note": "the same with groups of the command's own"}
]
END
"$pair" -sbx "$sbx" -candidates "$dir/candidates.json" -rounds 200 -base sbx "$@"
