#compdef batchgen
# Completes batchgen's commands in zsh: eval "$(batchgen completion zsh)" after compinit

_batchgen_completion() {
    local -a response plain described
    local kind value help
    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \
        _BATCHGEN_COMPLETE=zsh_complete "${words[1]}" 2>/dev/null)}")
    [[ $PREFIX == --*=* ]] && compset -P '*='
    for kind value help in "${response[@]}"; do
        case $kind in
            plain)
                if [[ $help == _ ]]; then
                    plain+=("$value")
                else
                    described+=("$value:$help")
                fi
                ;;
            dir) _files -/ ;;
            job) _files -g '*.(yaml|yml|jsonl|ndjson|csv|tsv)' ;;
            file) _files ;;
        esac
    done
    (( $#described )) && _describe -V batchgen described
    (( $#plain )) && compadd -V batchgen -a plain
    return 0
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _batchgen_completion "$@"
else
    compdef _batchgen_completion batchgen
fi
