package main

import (
	"flag"
	"fmt"
	"strings"

	"github.com/sseproxy/sseproxy/internal/proxy"
)

const placeScheme = "s3://"

// parseWalk parses the arguments of a command that goes over the objects of a bucket. Before its flags may stand s3://bucket/prefix.
func parseWalk(fs *flag.FlagSet, w *proxy.Walk, args []string, std stdio) error {
	fs.StringVar(&w.Bucket, "bucket", "", "bucket whose objects it is about")
	fs.StringVar(&w.Prefix, "prefix", "", "what their keys begin with")
	fs.StringVar(&w.After, "after", "", "leave keys up to this one alone")
	if len(args) > 0 && strings.HasPrefix(args[0], placeScheme) {
		w.Bucket, w.Prefix, _ = strings.Cut(strings.TrimPrefix(args[0], placeScheme), "/")
		args = args[1:]
	}
	if err := parseFlags(fs, args, std); err != nil {
		return err
	}
	if w.Bucket == "" {
		return fmt.Errorf("%w: %s needs --bucket, or s3://bucket/prefix", errUsage, fs.Name())
	}
	return nil
}
