# bash completion for sbx. Candidates come from `sbx __complete`, one a line,
# with a description after a tab; see also `sbx help completion`.

_sbx() {
	local line word cur=${COMP_WORDS[COMP_CWORD]} joined=() i
	# bash splits words at = and :, sbx does not.
	for ((i = 1; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if ((${#joined[@]})) && [[ $word == [=:]* || ${COMP_WORDS[i - 1]} == [=:] ]] && ((i > 1)); then
			joined[${#joined[@]} - 1]+=$word
		else
			joined+=("$word")
		fi
	done
	local whole=${joined[${#joined[@]} - 1]-} cut
	# What bash replaces is only the part after the last break.
	[[ $cur == [=:] ]] && cur=
	cut=${whole%"$cur"}
	COMPREPLY=()
	while IFS= read -r line; do
		word=${line%%$'\t'*}
		case $word in
		@file | @dir)
			compopt -o filenames 2>/dev/null
			local kind=-f
			[[ $word == @dir ]] && kind=-d
			mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen "$kind" -- "$cur")
			;;
		'@command '*)
			_sbx_command "${word#@command }"
			return
			;;
		*)
			word=${word#"$cut"}
			[[ $word == *= ]] && compopt -o nospace 2>/dev/null
			COMPREPLY+=("$word")
			;;
		esac
	done < <("${COMP_WORDS[0]}" __complete -- "${joined[@]}" 2>/dev/null)
}

# The command line of another program begins $1 words before the current one.
# With the package bash-completion that program's own completion is used.
_sbx_command() {
	local back=$1 cur=${COMP_WORDS[COMP_CWORD]}
	if declare -F _comp_command_offset >/dev/null; then
		_comp_command_offset $((COMP_CWORD - back))
	elif declare -F _command_offset >/dev/null; then
		_command_offset $((COMP_CWORD - back))
	elif ((back == 0)); then
		mapfile -t COMPREPLY < <(compgen -c -- "$cur")
	else
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}

complete -F _sbx sbx
