package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/sseproxy/sseproxy/internal/proxy"
)

// runGC is the command "sseproxy gc".
func runGC(ctx context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("gc", flag.ContinueOnError)
	bucket := fs.String("bucket", "", "bucket to clean")
	age := fs.Duration("older-than", 24*time.Hour, "leave what is younger")
	dryRun := fs.Bool("dry-run", false, "remove nothing, only count")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), "Usage: sseproxy gc --bucket NAME [--older-than 24h] [--dry-run]\n\n"+
			"Removes what multipart uploads that are over left below .sseproxy/uploads/. A live upload is never touched.\n"+
			"The environment is that of \"sseproxy serve\".\n\n")
		fs.PrintDefaults()
	}
	if err := parseFlags(fs, args, std); err != nil {
		return err
	}
	if *bucket == "" || *age < 0 {
		return fmt.Errorf("%w: gc needs --bucket, and an age that is not negative", errUsage)
	}
	p, err := loadProxy(ctx, std)
	if err != nil {
		return err
	}
	found, err := p.CollectGarbage(ctx, *bucket, *age, *dryRun)
	removed := "removed"
	if *dryRun {
		removed = "that would be removed"
	}
	if err == nil || found != (proxy.Garbage{}) {
		_, printErr := fmt.Fprintf(std.out, "uploads in progress or young: %d\nuploads %s: %d\n", found.Live, removed, found.Removed)
		err = errors.Join(err, printErr)
	}
	return err
}
