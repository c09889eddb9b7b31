package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/sseproxy/sseproxy/internal/keys"
)

const keysUsage = `Usage: sseproxy keys create  --key ID [--keyring FILE]
       sseproxy keys rotate  --key ID [--stage | --version N] [--keyring FILE]
       sseproxy keys disable --key ID [--version N] [--keyring FILE]
       sseproxy keys enable  --key ID --version N [--keyring FILE]
       sseproxy keys list    [--key ID] [--keyring FILE]

create   adds a key, and makes the file if there is none
rotate   adds a version and wraps new keys under it; --stage adds it only, --version wraps under one that exists
disable  forbids any use of a version, or of every version
enable   allows a version again
list     shows keys and versions, no secrets

FILE is SSEPROXY_KEYRING unless given. A running proxy sees a change of its file within a second.
`

// keysOptions are the flags of a keys command.
type keysOptions struct {
	keyring string
	key     string
	version uint64
	stage   bool
}

// runKeys is the command "sseproxy keys": args are what follows it. It fails with flag.ErrHelp when help was asked for
// and given.
func runKeys(args []string, keyringDefault string, stdout, stderr io.Writer) error {
	o, verb, err := parseKeys(args, keyringDefault, stderr)
	if err != nil {
		return err
	}
	if verb == "list" {
		return listKeys(o, stdout)
	}
	var done string
	err = keys.EditKeyring(o.keyring, func(r *keys.Keyring) error {
		var err error
		done, err = editKeys(r, verb, o)
		return err
	})
	if errors.Is(err, keys.ErrNotFound) {
		return fmt.Errorf("keyring %s: %w; \"sseproxy keys list\" shows what there is, \"create\" makes a key", o.keyring, err)
	}
	if err != nil {
		return fmt.Errorf("keys %s: %w", verb, err)
	}
	_, err = fmt.Fprintf(stdout, "%s: %s\n", o.keyring, done)
	return err
}

func parseKeys(args []string, keyringDefault string, stderr io.Writer) (o keysOptions, verb string, err error) {
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	f := flag.NewFlagSet("sseproxy keys "+verb, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, keysUsage) }
	f.StringVar(&o.keyring, "keyring", keyringDefault, "")
	f.StringVar(&o.key, "key", "", "")
	switch verb {
	case "rotate":
		f.BoolVar(&o.stage, "stage", false, "")
		f.Uint64Var(&o.version, "version", 0, "")
	case "disable", "enable":
		f.Uint64Var(&o.version, "version", 0, "")
	case "create", "list":
	case "-h", "-help", "--help", "help":
		f.Usage()
		return o, verb, flag.ErrHelp
	default:
		f.Usage()
		return o, verb, fmt.Errorf("%w: keys: %q is not one of create, rotate, disable, enable, list", errUsage, verb)
	}
	if err := f.Parse(args); err != nil {
		return o, verb, fmt.Errorf("%w: keys %s: %w", errUsage, verb, err)
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("%q is not expected", f.Arg(0))
	case o.keyring == "":
		err = errors.New("no keyring: give --keyring FILE or set SSEPROXY_KEYRING")
	case o.key == "" && (verb != "list" || given["key"]):
		err = errors.New("no key: give --key ID")
	case given["version"] && (o.version == 0 || o.version > math.MaxUint32):
		err = errors.New("a version is a number from 1")
	case verb == "enable" && !given["version"]:
		// No default: a version that was retired must not come back with the others by mistake.
		err = errors.New("no version: give --version N")
	case o.stage && given["version"]:
		err = errors.New("--stage adds a version, --version takes one that exists: give one of them")
	}
	if err != nil {
		err = fmt.Errorf("%w: keys %s: %w", errUsage, verb, err)
	}
	return o, verb, err
}

// editKeys does what verb says and tells it in words.
func editKeys(r *keys.Keyring, verb string, o keysOptions) (done string, err error) {
	version := uint32(o.version) //nolint:gosec // parseKeys checked the range
	switch verb {
	case "create":
		return fmt.Sprintf("key %s made; back the file up: without it nothing sealed under it can be read", o.key),
			r.Create(o.key, time.Now())
	case "rotate":
		if version == 0 {
			if version, err = r.Add(o.key, time.Now()); err != nil {
				return "", err
			}
		}
		if o.stage {
			return fmt.Sprintf("key %s has version %d, not yet in use for new objects", o.key, version), nil
		}
		return fmt.Sprintf("key %s wraps under version %d now", o.key, version), r.SetPrimary(o.key, version)
	case "disable":
		if version != 0 {
			done = fmt.Sprintf("key %s version %d is disabled", o.key, version)
			if isPrimary(r, o.key, version) {
				done += fmt.Sprintf("; it is the one that new objects use, so nothing can be stored until \"sseproxy keys rotate --key %s\" gives another", o.key)
			}
			return done, r.Disable(o.key, version)
		}
		return fmt.Sprintf("every version of key %s is disabled", o.key), disableAll(r, o.key)
	case "enable":
		return fmt.Sprintf("key %s version %d is enabled", o.key, version), r.Enable(o.key, version)
	}
	return "", fmt.Errorf("internal error: verb %q", verb)
}

func isPrimary(r *keys.Keyring, id string, version uint32) bool {
	return slices.ContainsFunc(r.Versions(), func(v keys.KeyVersion) bool { return v.KeyID == id && v.Version == version && v.Primary })
}

func disableAll(r *keys.Keyring, id string) error {
	found := false
	for _, v := range r.Versions() {
		if v.KeyID != id {
			continue
		}
		found = true
		if err := r.Disable(id, v.Version); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("key %q: %w", id, keys.ErrNotFound)
	}
	return nil
}

func listKeys(o keysOptions, stdout io.Writer) error {
	r, err := keys.ReadKeyring(o.keyring)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no keyring %s: \"sseproxy keys create\" makes one", o.keyring)
	}
	if err != nil {
		return fmt.Errorf("keys list: %w", err)
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tVERSION\tSTATE\tPRIMARY\tCREATED")
	found := false
	for _, v := range r.Versions() {
		if o.key != "" && v.KeyID != o.key {
			continue
		}
		found = true
		state, primary := "disabled", "-"
		if v.Enabled {
			state = "enabled"
		}
		if v.Primary {
			primary = "yes"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", v.KeyID, v.Version, state, primary, v.Created.Format(time.RFC3339))
	}
	if !found {
		return fmt.Errorf("keyring %s: key %q: %w", o.keyring, o.key, keys.ErrNotFound)
	}
	return w.Flush()
}
