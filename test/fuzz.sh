#!/bin/bash
# Runs each fuzz target for a while: fuzz.sh TIME [go test flag...]
# A target is a function FuzzX at the start of a line in a _test.go file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CGO_ENABLED=0
time=${1:?usage: fuzz.sh TIME [go test flag...]}
shift

out=$(mktemp)
trap 'rm -f "$out"' EXIT

# target NAME DIR FLAG... runs one. When its time is over in the middle of an
# input, go test can call that a failure, of which it has no input to show; then it
# is run once more.
target() {
	local name=$1 dir=$2
	shift 2
	for try in 1 2; do
		# Making each input that is new smaller takes up to a minute without a limit, for
		# a long one nearly all of the time.
		if go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 200x "$@" "$dir" >"$out"; then
			break
		elif ((try == 2)) || grep -q 'Failing input' "$out" || ! grep -q 'context deadline exceeded' "$out"; then
			cat "$out"
			return 1
		fi
	done
	cat "$out"
}

failed=0
while IFS=: read -r file line; do
	name=${line#func }
	target "${name%%(*}" "$(dirname "$file")" "$@" || failed=1
done < <(grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*(' . | sort)
exit "$failed"
