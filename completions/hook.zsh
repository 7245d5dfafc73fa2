# eval "$(sbx hook zsh)" at the end of ~/.zshrc: in a trusted project an
# interactive shell goes on inside its sandbox.
_sbx_hook() {
    local state dir
    [[ $PWD != "${_sbx_at-}" ]] || return 0
    typeset -g _sbx_at=$PWD
    { IFS= read -r state && IFS= read -r dir } < <(command sbx hook state)
    [[ $dir != "${_sbx_left-}" ]] || return 0
    typeset -g _sbx_left=
    if [[ $state == trusted ]]; then
        command sbx shell --enter "$dir/.sbx.toml"
        nosbx
    fi
    return 0
}
# nosbx: stay outside of this project's sandbox until it is left and entered again.
nosbx() {
    local state
    { IFS= read -r state && IFS= read -r _sbx_left } < <(command sbx hook state 2>/dev/null)
    return 0
}
autoload -Uz add-zsh-hook
add-zsh-hook precmd _sbx_hook
