#!/bin/bash
# Runs each fuzz target for a while: fuzz.sh TIME [go test flag...]
# A target is a function FuzzX at the start of a line in a _test.go file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CGO_ENABLED=0
time=${1:?usage: fuzz.sh TIME [go test flag...]}
shift

failed=0
while IFS=: read -r file line; do
	target=${line#func }
	target=${target%%(*}
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$@" "$(dirname "$file")" || failed=1
done < <(grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*(' . | sort)
exit "$failed"
