# Completes batchgen's commands in bash 4.4 and later: eval "$(batchgen completion bash)"

_batchgen_completion() {
    local IFS=$'\n' kind value path word whole= is_open= kept flag=
    COMPREPLY=()
    # Bash splits words at `=` and `:`, unless COMP_WORDBREAKS says otherwise: what stands before
    # the last of these in the word at the cursor is kept on the line.
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        case $word in
            '' | *[!=:]*)
                [[ $is_open ]] && kept=$whole || kept=
                whole=$kept$word is_open=
                ;;
            *) whole+=$word kept=$whole is_open=1 ;;
        esac
    done
    [[ $whole == --*=* ]] && flag=${whole%%=*}=
    while IFS=, read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            dir | job)
                compopt -o filenames
                for path in $(compgen -f -- "$value"); do
                    if [[ -d $path || $kind == job && $path =~ \.(ya?ml|jsonl|ndjson|[ct]sv)$ ]]; then
                        COMPREPLY+=("$path")
                    fi
                done
                [[ ${COMPREPLY[*]} ]] || compopt -o default
                ;;
            file) compopt -o default ;;
        esac
    done < <(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \
        _BATCHGEN_COMPLETE=bash_complete "$1" 2>/dev/null)
    COMPREPLY=("${COMPREPLY[@]/#/"$flag"}")
    COMPREPLY=("${COMPREPLY[@]#"${kept//\\/}"}")
}

complete -o nosort -F _batchgen_completion batchgen
