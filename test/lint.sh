#!/bin/bash
# The checks that are commands. lint.sh runs all, lint.sh NAME one,
# lint.sh --list names them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CGO_ENABLED=0

checks=(gofmt vet staticcheck tidy shell)

quiet() { # a command that has nothing to say when all is well
	local out
	out=$("$@")
	[[ -z $out ]] || { printf '%s\n' "$out"; return 1; }
}

shell_scripts() {
	find . -name .git -prune -o -path ./bin -prune -o -type f \( -name '*.sh' -o -name '*.bash' -o -path ./.ci/run \) -print
}

check() {
	case $1 in
	gofmt) quiet gofmt -l . ;;
	vet) go vet ./... ;;
	staticcheck) go tool -modfile=tools/go.mod staticcheck ./... ;;
	tidy) go mod tidy -diff && go -C tools mod tidy -diff ;;
	shell)
		local bad=0 script
		while read -r script; do
			bash -n "$script" || bad=1
		done < <(shell_scripts)
		return "$bad"
		;;
	*) echo "lint.sh: no check $1; there are: ${checks[*]}" >&2 && return 2 ;;
	esac
}

case ${1-} in
--list) printf '%s\n' "${checks[@]}" ;;
'')
	failed=()
	for name in "${checks[@]}"; do
		echo "== $name"
		"$0" "$name" || failed+=("$name") # in its own shell, where -e holds
	done
	((${#failed[@]} == 0)) || { echo "lint.sh: failed: ${failed[*]}" >&2; exit 1; }
	;;
*) check "$1" ;;
esac
