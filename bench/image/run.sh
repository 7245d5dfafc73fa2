#!/bin/sh
# What a start on an image of five layers costs beside one on a directory with the same
# files, interleaved: bench/image/run.sh PAIR SBX [FLAGS of pair]. It fails when the
# median is more than 1.3 of the directory's.
set -e
pair=$(realpath "$1") sbx=$(realpath "$2")
shift 2
dir=$(mktemp -d "$HOME/bench-image-XXXXXX")
export XDG_DATA_HOME="$dir/data"
trap '"$sbx" image prune --all >/dev/null; rm -rf "$dir"' EXIT
mkdir -p "$dir/tree/bin" "$dir/work" "$dir/data"
cp "$(command -v busybox)" "$dir/tree/bin/busybox"
for name in sh true cat; do ln -s busybox "$dir/tree/bin/$name"; done
tools=$PWD/bin/bench
cd "$dir/work"
"$sbx" image import -q --name one "$dir/tree" >/dev/null
from=one
for i in 2 3 4 5; do
	"$sbx" run -q --image $from --overlay=grow -- sh -c "echo $i >/layer$i"
	"$sbx" image commit grow "made:$i" >/dev/null
	"$sbx" discard grow >/dev/null
	echo $i >"$dir/tree/layer$i"
	from=made:$i
done
"$sbx" image inspect made:5 | tr -d ' \n' | grep -o '"layers":\[[^]]*\]' | grep -q '\("[^"]*",\)\{4\}"[^"]*"\]' || { echo "made:5 has not five layers" >&2; exit 1; }
head="\"/usr/bin/env\", \"SBX_KEEP=off\", \"XDG_DATA_HOME=$XDG_DATA_HOME\", \"{sbx}\", \"run\", \"-q\""
cat >"$dir/candidates.json" <<END
[
  {"name": "directory", "requires": ["{sbx}"], "in": ["start"], "version": ["{sbx}", "version"],
   "argv": [$head, "--set", "root.source=$dir/tree", "build", "--", "/bin/true"]},
  {"name": "image", "requires": ["{sbx}"], "in": ["start"], "argv": [$head, "--image", "made:5", "build", "--", "/bin/true"], "note": "five layers, and what is written over them in memory"},
  {"name": "image, read-only", "requires": ["{sbx}"], "in": ["start"], "argv": [$head, "--image", "made:5", "--set", "root.read_only=true", "build", "--", "/bin/true"], "note": "five layers"},
  {"name": "image of one layer", "requires": ["{sbx}"], "in": ["start"], "argv": [$head, "--image", "one", "build", "--", "/bin/true"]}
]
END
"$pair" -sbx "$sbx" -bin "$tools" -candidates "$dir/candidates.json" -rounds 200 -base directory -max 'image=1.3' "$@"
