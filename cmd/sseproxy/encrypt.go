package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"github.com/sseproxy/sseproxy/internal/proxy"
)

const encryptUsage = `Usage: sseproxy encrypt s3://BUCKET/PREFIX [--after KEY] [--dry-run]

Seals, in their place, the objects below a prefix that are not sealed: under the bucket's default encryption and the operator's rules, with
their headers, metadata, tags, storage class and locks. Each is read, sealed, opened again, and put in the other's place only if that has not
changed; then it is read back. Objects that are sealed are left alone, so it may be stopped and started again; --after goes on behind a
key that was reported. --dry-run tells what it would seal.

It seals whatever is there: run it when you trust what the bucket has. Where the bucket keeps versions, the plaintext STAYS as an
older version until that is deleted. The environment is that of "sseproxy serve".

`

// runEncrypt is the command "sseproxy encrypt".
func runEncrypt(ctx context.Context, args []string, std stdio) error {
	var e proxy.Encrypting
	fs := flag.NewFlagSet("encrypt", flag.ContinueOnError)
	fs.BoolVar(&e.DryRun, "dry-run", false, "change nothing, only name and count")
	fs.Usage = func() { fmt.Fprint(fs.Output(), encryptUsage); fs.PrintDefaults() }
	if err := parseWalk(fs, &e.Walk, args, std); err != nil {
		return err
	}
	p, err := loadProxy(ctx, std)
	if err != nil {
		return err
	}
	e.Page = func(last string, sofar proxy.Tally) {
		fmt.Fprintf(std.err, "%d sealed, %d were, up to %q\n", sofar.Done+sofar.Beside, sofar.Current, last)
	}
	sum, err := p.Encrypt(ctx, e)
	sealed := "sealed"
	if e.DryRun {
		sealed = "that would be sealed"
	}
	_, printErr := fmt.Fprintf(std.out, "objects %s: %d\nsealed already: %d\nto be left as they are: %d\ndeleted meanwhile: %d\nfailed: %d\n",
		sealed, sum.Done+sum.Beside, sum.Current, sum.Exempt, sum.Gone, sum.Failed)
	if sum.Beside > 0 && printErr == nil {
		_, printErr = fmt.Fprintf(std.out, "PLAINTEXT THAT STAYS as an older version: %d\nThe bucket keeps versions: the plaintext of these objects is readable "+
			"at the store until those versions are deleted.\n", sum.Beside)
	}
	if err == nil && sum.Failed > 0 {
		err = fmt.Errorf("%d objects were not sealed; the log says which, and why", sum.Failed)
	}
	return errors.Join(err, printErr)
}
