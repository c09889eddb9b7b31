package main

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

// runInspect is the command "sseproxy inspect".
func runInspect(_ context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("inspect", flag.ContinueOnError)
	value := fs.String("envelope", "", "value of the object's metadata x-amz-meta-sseproxy")
	file := fs.String("file", "", "file with the stored bytes; \"-\" is standard input")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), "Usage: sseproxy inspect [--envelope VALUE] [--file FILE]\n\nShows what an object's envelope and trailer say. Nothing is verified: that takes the key.\n\n")
		fs.PrintDefaults()
	}
	if err := parseFlags(fs, args, std); err != nil {
		return err
	}
	if *value == "" && *file == "" {
		return fmt.Errorf("%w: inspect needs --envelope, --file, or both", errUsage)
	}
	t := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	if *value != "" {
		e, err := envelope.Parse(*value)
		if err != nil {
			return err
		}
		showEnvelope(t, e)
	}
	if *file != "" {
		if err := showFile(t, *file, std.in); err != nil {
			return errors.Join(err, t.Flush())
		}
	}
	return t.Flush()
}

func showEnvelope(w io.Writer, e *envelope.Envelope) {
	fmt.Fprintf(w, "envelope\tformat 1, mode %s\n", e.Mode)
	if e.Multipart {
		fmt.Fprint(w, "made by\ta multipart upload; length and parts are in the trailer\n")
	} else {
		fmt.Fprintf(w, "made by\tone PutObject\n")
		fmt.Fprintf(w, "plaintext\t%d bytes\n", e.Length)
		fmt.Fprintf(w, "sealed\t%d bytes\n", envelope.SealedSize(e.Length))
	}
	if e.KeyID != "" {
		fmt.Fprintf(w, "key id\t%s\n", e.KeyID)
	}
	fmt.Fprintf(w, "wrapped key\t%d bytes, %s\n", len(e.WrappedKey), scope(e))
	if e.Mode == envelope.ModeDSSE {
		fmt.Fprintf(w, "second key id\t%s\n", e.SecondKeyID)
		fmt.Fprintf(w, "its wrapped key\t%d bytes, of its bucket\n", len(e.SecondWrappedKey))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Context)) {
		fmt.Fprintf(w, "context\t%q = %q\n", name, e.Context[name])
	}
}

func scope(e *envelope.Envelope) string {
	switch {
	case e.Mode == envelope.ModeCustomer:
		return "salt and check of the customer's key"
	case e.OwnKey:
		return "of this object alone"
	}
	return "of its bucket"
}

// showFile shows the structure in the trailer of stored bytes.
func showFile(w io.Writer, name string, in io.Reader) error {
	f, size, err := openSealed(name, in)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	fmt.Fprintf(w, "stored\t%d bytes\n", size)
	if size == 0 {
		fmt.Fprint(w, "plaintext\t0 bytes, if the envelope says so\n")
		return nil
	}
	b, err := readTrailer(f, size)
	if err != nil {
		return err
	}
	t, err := envelope.ParseStructure(b)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "trailer\t%d bytes\n", len(b))
	fmt.Fprintf(w, "holds\t%d bytes in %d part(s)\n", t.Size(), len(t.Parts))
	for _, p := range t.Parts {
		if !t.Single {
			fmt.Fprintf(w, "part %d\t%d bytes, attempt %s\n", p.Number, p.Size, attempt(p))
		}
	}
	return nil
}

func attempt(p envelope.Part) string {
	if !p.Bound {
		return "not bound"
	}
	return hex.EncodeToString(p.Attempt[:])
}

// openSealed opens stored bytes for reading at any place; standard input goes through a temporary file. It holds
// sealed bytes only.
func openSealed(name string, in io.Reader) (*os.File, int64, error) {
	f, err := os.Open(name)
	if name == "-" {
		if f, err = os.CreateTemp("", "sseproxy-*"); err == nil {
			err = os.Remove(f.Name())
		}
		if err == nil {
			_, err = io.Copy(f, in)
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("opening the stored bytes: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, fmt.Errorf("opening the stored bytes: %w", err)
	}
	return f, size, nil
}

// readTrailer reads the trailer of an object that is not empty.
func readTrailer(f io.ReaderAt, size int64) ([]byte, error) {
	tail := make([]byte, envelope.TailSize)
	if size < int64(len(tail)) {
		return nil, fmt.Errorf("%w: %d bytes are stored", envelope.ErrSize, size)
	}
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return nil, fmt.Errorf("reading the tail: %w", err)
	}
	_, length, err := envelope.ParseTail(tail)
	if err != nil {
		return nil, err
	}
	if length > size || length > envelope.MaxTrailer {
		return nil, fmt.Errorf("%w: its tail claims a trailer of %d bytes", envelope.ErrTrailer, length)
	}
	b := make([]byte, length)
	if _, err := f.ReadAt(b, size-length); err != nil {
		return nil, fmt.Errorf("reading the trailer: %w", err)
	}
	return b, nil
}
