package main

import (
	"context"
	"flag"
	"fmt"
)

// bashCompletion asks the program for its commands and their options, so it does not age.
const bashCompletion = `_sseproxy() {
	local word=${COMP_WORDS[COMP_CWORD]} known
	if [ "$COMP_CWORD" -eq 1 ]; then
		known=$("${COMP_WORDS[0]}" help 2>/dev/null | sed -n 's/^  \([a-z]*\)  .*/\1/p')
	else
		known=$("${COMP_WORDS[0]}" "${COMP_WORDS[1]}" --help 2>&1 | sed -n 's/^  \(-[a-z-]*\).*/-\1/p')
	fi
	mapfile -t COMPREPLY < <(compgen -W "$known" -- "$word")
}
complete -o default -F _sseproxy sseproxy
`

// runCompletion is the command "sseproxy completion".
func runCompletion(_ context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("completion", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), "Usage: sseproxy completion\n\nPrints what makes bash complete commands and options: source <(sseproxy completion). In zsh run\n"+
			"\"autoload -U bashcompinit && bashcompinit\" before.\n")
	}
	if err := parseFlags(fs, args, std); err != nil {
		return err
	}
	_, err := fmt.Fprint(std.out, bashCompletion)
	return err
}
