# fish completion for sbx. Candidates come from `sbx __complete`, one a line,
# with a description after a tab; see also `sbx help completion`.

function __sbx_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l sbx $words[1]
    set -e words[1]
    # What stands before a value in the same word.
    set -l prefix ''
    if string match -q -- '--*=*' $current
        set prefix (string replace -r '=.*' '=' -- $current)
    end
    for line in ($sbx __complete -- $words $current 2>/dev/null)
        set -l word (string split -m 1 \t -- $line)[1]
        switch $word
            case @file
                __fish_complete_path (string replace -- "$prefix" '' $current) | string replace -r '^' -- $prefix
            case @dir
                __fish_complete_directories (string replace -- "$prefix" '' $current) | string replace -r '^' -- $prefix
            case '@command *'
                set -l back (string replace '@command ' '' -- $word)
                set -l rest
                test $back -gt 0; and set rest $words[-$back..-1]
                complete -C (string join ' ' -- (string escape -- $rest) "$current")
            case '*'
                echo $line
        end
    end
end

complete -c sbx -f -a '(__sbx_complete)'
