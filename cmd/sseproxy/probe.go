package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sseproxy/sseproxy/internal/envelope"
)

// examineBucket looks at a bucket's configuration, and tries in it what the proxy needs of a store.
func (d *doctor) examineBucket(ctx context.Context) {
	subject := "bucket " + d.bucket
	if _, err := d.store.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &d.bucket}); err != nil {
		d.fail(subject, "%v. Create it, or let the proxy's credentials use it", err)
		return
	}
	versioning, err := d.store.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &d.bucket})
	switch {
	case err != nil:
		d.warn(subject, "whether it keeps versions cannot be asked: %v", err)
	case versioning.Status == types.BucketVersioningStatusEnabled:
		d.ok(subject, "it keeps versions. rewrap and encrypt make new ones and leave the old; a lifecycle rule for noncurrent versions removes them")
	default:
		d.ok(subject, "it keeps no versions")
	}
	lock, err := d.store.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &d.bucket})
	if err == nil && lock.ObjectLockConfiguration != nil && lock.ObjectLockConfiguration.Rule != nil {
		d.warn(subject, "it has a default retention, which holds for what the proxy keeps of uploads below .sseproxy/, too: run gc when that is over")
	}
	p := &probe{doctor: d, prefix: ".sseproxy/doctor/" + strings.ToLower(rand.Text()) + "/"}
	for _, try := range []func(context.Context) error{p.objects, p.copies, p.parts} {
		if err := try(ctx); err != nil {
			d.fail(subject, "%v", err)
		}
	}
	p.remove(ctx)
}

// probe makes objects below a prefix of its own.
type probe struct {
	*doctor
	prefix string
}

// metadata is as long as the longest envelope that the proxy makes beside a client's own.
var metadata = map[string]string{"sseproxy-doctor": strings.Repeat("m", 1024)}

func (p *probe) put(ctx context.Context, name string, change func(*s3.PutObjectInput)) (*s3.PutObjectOutput, error) {
	in := &s3.PutObjectInput{Bucket: &p.bucket, Key: aws.String(p.prefix + name), Body: strings.NewReader("0123456789"), Metadata: metadata}
	if change != nil {
		change(in)
	}
	return p.store.PutObject(ctx, in)
}

// objects tries what a PutObject and its reads need.
func (p *probe) objects(ctx context.Context) error {
	if _, err := p.put(ctx, "object", nil); err != nil {
		return fmt.Errorf("an object cannot be written below .sseproxy/: %w. Let the proxy's credentials write everywhere in the bucket", err)
	}
	out, err := p.store.GetObject(ctx, &s3.GetObjectInput{Bucket: &p.bucket, Key: aws.String(p.prefix + "object"), Range: aws.String("bytes=-4")})
	if err != nil {
		return fmt.Errorf("an object cannot be read: %w. Let the proxy's credentials read everywhere in the bucket", err)
	}
	tail, err := io.ReadAll(io.LimitReader(out.Body, 100)) //nolint:forbidigo // limited
	if err = errors.Join(err, out.Body.Close()); err != nil {
		return fmt.Errorf("an object cannot be read: %w", err)
	}
	if string(tail) != "6789" || out.Metadata["sseproxy-doctor"] != metadata["sseproxy-doctor"] {
		return errors.New("an object's last bytes or its metadata do not come back as they were written: the proxy cannot work with this store")
	}
	p.ok("objects", "they are written and read, with 1 KiB of metadata and by range")
	_, err = p.put(ctx, "object", func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") })
	p.condition("conditional writes", err, "If-None-Match is heeded", "the store ignores If-None-Match on a write, so clients that rely on it (locks, Terraform, table formats) may overwrite each other")
	return nil
}

// condition reports whether a request that should fail for a condition did.
func (p *probe) condition(subject string, err error, heeded, ignored string) {
	switch {
	case err == nil:
		p.warn(subject, "%s", ignored)
	case errorCode(err) == "PreconditionFailed":
		p.ok(subject, "%s", heeded)
	default:
		p.warn(subject, "the store refuses such a condition (%v), and clients that set it will see that", err)
	}
}

// copies tries what CopyObject and rewrap need.
func (p *probe) copies(ctx context.Context) error {
	in := &s3.CopyObjectInput{
		Bucket: &p.bucket, Key: aws.String(p.prefix + "copy"), CopySource: aws.String(p.bucket + "/" + p.prefix + "object"),
		MetadataDirective: types.MetadataDirectiveReplace, Metadata: map[string]string{"sseproxy-doctor": "new"},
	}
	if _, err := p.store.CopyObject(ctx, in); err != nil {
		return fmt.Errorf("an object cannot be copied with other metadata: %w. CopyObject and rewrap need that", err)
	}
	head, err := p.store.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &p.bucket, Key: in.Key})
	if err != nil {
		return fmt.Errorf("a copy cannot be looked at: %w", err)
	}
	if head.Metadata["sseproxy-doctor"] != "new" {
		return errors.New("a copy does not get the metadata that is asked for: copies through the proxy would not open")
	}
	p.ok("copies", "the store makes them, with other metadata")
	in.CopySourceIfMatch = aws.String(`"00000000000000000000000000000000"`)
	_, err = p.store.CopyObject(ctx, in)
	p.condition("conditional copies", err, "x-amz-copy-source-if-match is heeded",
		"the store ignores x-amz-copy-source-if-match: a copy, or rewrap, at the same time as a write of its source may make an object that does not open")
	return nil
}

// parts tries an upload such as the proxy makes: parts of several sizes, with gaps in their numbers, and part 10000.
func (p *probe) parts(ctx context.Context) error {
	const refused = "%w. Multipart uploads do not work through the proxy with this store"
	key := aws.String(p.prefix + "parts")
	made, err := p.store.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &p.bucket, Key: key, Metadata: metadata})
	if err != nil {
		return fmt.Errorf("an upload in parts cannot be begun: "+refused, err)
	}
	var done types.CompletedMultipartUpload
	for _, part := range []struct {
		number int32
		size   int
	}{{1, envelope.MinPartSize + 1}, {3, envelope.MinPartSize}, {envelope.MaxParts, 100}} {
		out, err := p.store.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &p.bucket, Key: key, UploadId: made.UploadId, PartNumber: aws.Int32(part.number), Body: bytes.NewReader(make([]byte, part.size)),
		})
		if err != nil {
			return errors.Join(fmt.Errorf("part %d of an upload cannot be written: "+refused, part.number, err), p.abort(ctx, key, made.UploadId))
		}
		done.Parts = append(done.Parts, types.CompletedPart{ETag: out.ETag, PartNumber: aws.Int32(part.number)})
	}
	if _, err := p.store.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &p.bucket, Key: key, UploadId: made.UploadId, MultipartUpload: &done}); err != nil {
		return errors.Join(fmt.Errorf("an upload of parts of different sizes, with gaps in their numbers, cannot be completed: "+refused, err), p.abort(ctx, key, made.UploadId))
	}
	head, err := p.store.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &p.bucket, Key: key})
	if err != nil {
		return fmt.Errorf("what was uploaded in parts cannot be looked at: %w", err)
	}
	if n := aws.ToInt64(head.ContentLength); n != 2*envelope.MinPartSize+101 {
		return fmt.Errorf("an upload in parts becomes an object of %d bytes: the proxy cannot work with this store", n)
	}
	p.ok("multipart uploads", "parts of different sizes, gaps in their numbers and part %d are taken", envelope.MaxParts)
	return nil
}

func (p *probe) abort(ctx context.Context, key, id *string) error {
	_, err := p.store.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &p.bucket, Key: key, UploadId: id})
	return err
}

// remove takes away what was made, with all versions, as the proxy does when an upload ends.
func (p *probe) remove(ctx context.Context) {
	out, err := p.store.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &p.bucket, Prefix: &p.prefix})
	if err != nil {
		p.fail("cleaning up", "versions cannot be listed: %v. Let the proxy's credentials list versions: it removes what uploads leave", err)
		return
	}
	for _, v := range out.Versions {
		if _, err := p.store.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &p.bucket, Key: v.Key, VersionId: v.VersionId}); err != nil {
			p.fail("cleaning up", "%s cannot be removed: %v. Let the proxy's credentials delete versions: it removes what uploads leave", *v.Key, err)
			return
		}
	}
	p.ok("cleaning up", "%d objects were removed", len(out.Versions))
}
