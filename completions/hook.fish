# sbx hook fish | source at the end of ~/.config/fish/config.fish: in a trusted
# project an interactive shell goes on inside its sandbox.
function _sbx_hook --on-event fish_prompt
    test "$PWD" != "$_sbx_at"; or return
    set -g _sbx_at $PWD
    set -l found (command sbx hook state)
    test "$found[2]" != "$_sbx_left"; or return
    set -g _sbx_left
    if test "$found[1]" = trusted
        # At its prompt fish edits the line itself and has no key for stopping a job. The
        # terminal inside begins as this one is, and is to be one for any command.
        command stty icanon iexten echo icrnl susp '^Z' quit '^\\' 2>/dev/null
        command sbx shell --enter $found[2]/.sbx.toml
        nosbx
    end
end
# nosbx: stay outside of this project's sandbox until it is left and entered again.
function nosbx
    set -l found (command sbx hook state 2>/dev/null)
    set -g _sbx_left $found[2]
end
