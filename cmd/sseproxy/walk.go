package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/sseproxy/sseproxy/internal/proxy"
)

const placeScheme = "s3://"

// parseWalk parses the arguments of a command that goes over the objects of a bucket. Before its flags may stand s3://bucket/prefix.
func parseWalk(fs *flag.FlagSet, w *proxy.Walk, args []string, std stdio) error {
	fs.StringVar(&w.Bucket, "bucket", "", "bucket whose objects it is about")
	fs.StringVar(&w.Prefix, "prefix", "", "what their keys begin with")
	fs.StringVar(&w.After, "after", "", "leave keys up to this one alone")
	fs.Func("shard", "I/N: only the objects of share I, from 0, of N; for several machines, each with another I", func(text string) error {
		i, n, _ := strings.Cut(text, "/")
		var wrong, too error
		w.Share, wrong = strconv.ParseUint(i, 10, 32)
		w.Shares, too = strconv.ParseUint(n, 10, 32)
		if wrong != nil || too != nil || w.Share >= w.Shares {
			return errors.New("not of the form I/N, with I from 0 and below N")
		}
		return nil
	})
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
