# eval "$(sbx hook bash)" at the end of ~/.bashrc: in a trusted project an
# interactive shell goes on inside its sandbox.
_sbx_hook() {
    local status=$? state dir
    if [[ $PWD != "${_sbx_at-}" ]]; then
        _sbx_at=$PWD
        { IFS= read -r state && IFS= read -r dir; } < <(command sbx hook state)
        if [[ $dir != "${_sbx_left-}" ]]; then
            _sbx_left=
            if [[ $state == trusted ]]; then
                command sbx shell --enter "$dir/.sbx.toml"
                nosbx
            fi
        fi
    fi
    return "$status"
}
# nosbx: stay outside of this project's sandbox until it is left and entered again.
nosbx() {
    { IFS= read -r _ && IFS= read -r _sbx_left; } < <(command sbx hook state 2>/dev/null)
}
case ";${PROMPT_COMMAND[*]-};" in
*_sbx_hook*) ;;
*) PROMPT_COMMAND="_sbx_hook${PROMPT_COMMAND:+;$PROMPT_COMMAND}" ;;
esac
