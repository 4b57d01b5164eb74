# Completes batchgen's commands in fish: batchgen completion fish | source

function __batchgen_completion
    set -l token (commandline -ct)
    set -l before (string match -r -- '^--[^=]+=' "$token")
    for completion in (env _BATCHGEN_COMPLETE=fish_complete COMP_WORDS=(commandline -cp | string collect) \
            COMP_CWORD="$token" batchgen 2>/dev/null)
        set -l told (string split -m 1 , -- $completion)
        switch $told[1]
            case plain
                echo "$before$told[2]"
            case dir
                printf "$before%s\n" (__fish_complete_directories "$told[2]")
            case job
                printf "$before%s\n" (__fish_complete_path "$told[2]" |
                    string match -er '^[^\t]*(/|\.(ya?ml|jsonl|ndjson|[ct]sv))(\t|$)')
            case file
                printf "$before%s\n" (__fish_complete_path "$told[2]")
        end
    end
end

complete --no-files --command batchgen --arguments '(__batchgen_completion)'
