// Command sseproxy is an encrypting reverse proxy for S3: any S3 client uses it as its endpoint, unchanged, and the
// store behind it holds only sealed bytes.
package main

import (
	"cmp"
	"context"
	"crypto/fips140"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
)

// Exit codes that scripts can rely on.
const (
	exitFailed = 1 // the command could not do its work
	exitUsage  = 2 // the command line or the configuration is wrong
)

// errUsage is wrapped by errors about the command line or the configuration.
var errUsage = errors.New("usage")

// command is a subcommand. args are what follows its name.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, std stdio) error
}

// stdio is where a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
}

// commands are all subcommands; a production build (-tags nodev) is without dev and the store that it links.
var commands = append([]command{
	{"serve", "run the proxy, configured by the environment", runServe},
	{"keys", "create, rotate, disable, enable and list keys of a keyring", func(_ context.Context, args []string, std stdio) error {
		return runKeys(args, lookUp(std.environ, "SSEPROXY_KEYRING"), std.out, std.err)
	}},
	{"gc", "remove what abandoned multipart uploads left in a bucket", runGC},
	{"rewrap", "give the objects of a bucket another key, or its current version", runRewrap},
	{"doctor", "look at configuration, keys and store, and say what to do", runDoctor},
	{"encrypt", "seal objects of a bucket that are not sealed, in their place", runEncrypt},
	{"verify", "open every object of a bucket and tell which do not", runVerify},
	{"inspect", "show what an object's envelope and trailer say, without a key", runInspect},
	{"decrypt", "open an object from its stored bytes and envelope, without a proxy", runDecrypt},
	{"completion", "make bash complete commands and options", runCompletion},
	{"version", "show version and commit", runVersion},
}, devCommands...)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr, os.Environ()}) //nolint:forbidigo // handed to internal/config
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "sseproxy:", err)
		os.Exit(exitUsage)
	default:
		fmt.Fprintln(os.Stderr, "sseproxy:", err)
		os.Exit(exitFailed)
	}
}

func run(ctx context.Context, args []string, std stdio) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(std.out)
		return nil
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		return fmt.Errorf("%w: there is no command %q; see sseproxy help", errUsage, args[0])
	}
	return commands[i].run(ctx, args[1:], std)
}

func usage(w io.Writer) {
	fmt.Fprint(w, "sseproxy encrypts what S3 clients store, on its way to any S3-compatible store.\n\nUsage: sseproxy COMMAND [ARGUMENTS]\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-10s  %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nsseproxy COMMAND --help tells more.\n")
}

// parseFlags parses args, of which none may be left over.
func parseFlags(fs *flag.FlagSet, args []string, std stdio) error {
	fs.SetOutput(std.err)
	err := fs.Parse(args)
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", errUsage, fs.Name(), err)
}

// lookUp returns a variable of an environment.
func lookUp(environ []string, name string) string {
	for _, line := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return value
		}
	}
	return ""
}

// A release build sets them: -ldflags "-X main.version=1.2.3 -X main.commit=…". Without the commit it is that of the repository in
// which Go built.
var (
	version = "development"
	commit  string
)

func runVersion(_ context.Context, args []string, std stdio) error {
	if err := parseFlags(flag.NewFlagSet("version", flag.ContinueOnError), args, std); err != nil {
		return err
	}
	about := cmp.Or(commit, revision(), "unknown commit") + ", " + runtime.Version()
	if fips140.Enabled() {
		about += ", FIPS 140-3 module " + fips140.Version()
	}
	_, err := fmt.Fprintf(std.out, "sseproxy %s (%s)\n", version, about)
	return err
}

// revision tells which commit the program was built from, if Go built it in a repository.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	commit, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = ", modified"
		}
	}
	return commit + modified
}
