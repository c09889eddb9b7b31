package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/sseproxy/sseproxy/internal/proxy"
)

const rewrapUsage = `Usage: sseproxy rewrap s3://BUCKET/PREFIX [--key OLD=NEW]... [--after KEY] [--dry-run]

Wraps the data keys of objects anew: under the current version of their key or, with --key, under another one. No body moves;
the store copies each object onto itself with a new envelope. Where the bucket keeps versions, the older ones stay as they are.
Objects with a customer's key (SSE-C) are left alone. It may be stopped and started again: what is done is found so, and
--after goes on behind a key that was reported. The environment is that of "sseproxy serve".

`

// runRewrap is the command "sseproxy rewrap".
func runRewrap(ctx context.Context, args []string, std stdio) error {
	w := proxy.Rewrapping{Keys: make(map[string]string)}
	fs := flag.NewFlagSet("rewrap", flag.ContinueOnError)
	fs.BoolVar(&w.DryRun, "dry-run", false, "change nothing, only count")
	fs.Func("key", "OLD=NEW: key ids; objects under OLD get NEW", func(text string) error {
		from, to, ok := strings.Cut(text, "=")
		if !ok || from == "" || to == "" {
			return errors.New("not of the form OLD=NEW")
		}
		w.Keys[from] = to
		return nil
	})
	fs.Usage = func() { fmt.Fprint(fs.Output(), rewrapUsage); fs.PrintDefaults() }
	if err := parseWalk(fs, &w.Walk, args, std); err != nil {
		return err
	}
	p, err := loadProxy(ctx, std)
	if err != nil {
		return err
	}
	w.Page = func(last string, sofar proxy.Tally) {
		fmt.Fprintf(std.err, "%d wrapped anew, %d current, up to %q\n", sofar.Done, sofar.Current, last)
	}
	sum, err := p.Rewrap(ctx, w)
	done := "wrapped anew"
	if w.DryRun {
		done = "that would be wrapped anew"
	}
	_, printErr := fmt.Fprintf(std.out, "objects %s: %d\ncurrent already: %d\nwith a customer's key: %d\nnot sealed: %d\ndeleted meanwhile: %d\nfailed: %d\n",
		done, sum.Done, sum.Current, sum.Customer, sum.Plain, sum.Gone, sum.Failed)
	if err == nil && sum.Failed > 0 {
		err = fmt.Errorf("%d objects were not wrapped anew; the log says why", sum.Failed)
	}
	return errors.Join(err, printErr)
}
