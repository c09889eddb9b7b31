package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"github.com/sseproxy/sseproxy/internal/proxy"
)

const verifyUsage = `Usage: sseproxy verify s3://BUCKET/PREFIX [--after KEY]

Opens every object below a prefix as a GET would, reads it to its end, and compares it with the checksums that it was stored with.
An object that does not open is named in the log, with the reason, and so is one that is not sealed, which counts as a failure unless
SSEPROXY_PLAINTEXT_READS=allow. Objects with a customer's key (SSE-C) cannot be opened without it: they are counted apart.
Of each object it sees the current version. Nothing is changed. --after goes on behind a key that was reported.
The environment is that of "sseproxy serve".

`

// runVerify is the command "sseproxy verify".
func runVerify(ctx context.Context, args []string, std stdio) error {
	var w proxy.Walk
	fs := flag.NewFlagSet("verify", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(fs.Output(), verifyUsage); fs.PrintDefaults() }
	if err := parseWalk(fs, &w, args, std); err != nil {
		return err
	}
	p, err := loadProxy(ctx, std)
	if err != nil {
		return err
	}
	w.Page = func(last string, sofar proxy.Tally) {
		fmt.Fprintf(std.err, "%d open, %d do not, %d not sealed, up to %q\n", sofar.Done, sofar.Failed, sofar.Plain, last)
	}
	sum, err := p.Verify(ctx, w)
	_, printErr := fmt.Fprintf(std.out, "objects that open: %d\nwith a customer's key, skipped: %d\nnot sealed: %d\nnot sealed, and allowed: %d\ndeleted meanwhile: %d\nfailed: %d\n",
		sum.Done, sum.Customer, sum.Plain, sum.Exempt, sum.Gone, sum.Failed)
	return errors.Join(err, printErr)
}
