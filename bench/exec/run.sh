#!/bin/sh
# What a command costs in a sandbox that is up (sbx exec) beside bubblewrap starting
# anew for each, interleaved: bench/exec/run.sh PAIR SBX [FLAGS of pair]. It fails
# when the median is more than half of bubblewrap's.
set -e
pair=$(realpath "$1") sbx=$(realpath "$2")
shift 2
dir=$(mktemp -d)
trap 'cd "$dir" && "$sbx" down >/dev/null; rm -r "$dir"' EXIT
if [ -z "$XDG_RUNTIME_DIR" ]; then # or the candidates get one of their own
	mkdir -m 700 "$dir/run"
	export XDG_RUNTIME_DIR="$dir/run"
fi
(cd "$dir" && "$sbx" up >name)
name=$(cat "$dir/name")
cat >"$dir/candidates.json" <<EOF
[
  {"name": "bwrap", "requires": ["bwrap"], "in": ["start"], "version": ["bwrap", "--version"],
   "argv": ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--new-session", "--die-with-parent", "--cap-drop", "ALL", "/bin/true"]},
  {"name": "sbx exec", "requires": ["{sbx}"], "in": ["start"], "argv": ["{sbx}", "exec", "$name", "/bin/true"], "note": "in a sandbox that is up"},
  {"name": "true", "in": ["start"], "argv": ["/bin/true"], "note": "the command alone"}
]
EOF
"$pair" -sbx "$sbx" -candidates "$dir/candidates.json" -rounds 500 -base bwrap -max 'sbx exec=0.5' "$@"
