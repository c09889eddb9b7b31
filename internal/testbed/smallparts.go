package testbed

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what versitygw makes ETags of
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// SmallParts gives a store like Store's that takes parts of any size before others, one per test program. S3 and the other
// stores here insist on 5 MiB, with which an upload of ten thousand parts moves 50 GiB.
func SmallParts(t testing.TB) *S3Store {
	t.Helper()
	return stores.get(t, "small parts", "")
}

func launchSmallParts(ctx context.Context, dir string) (*S3Store, func() error, error) {
	return runVersityGW(ctx, dir, func(files *posix.Posix) backend.Backend { return smallParts{files} })
}

// smallParts puts the parts of an upload together and gives them to versitygw as one part, which may have any size.
type smallParts struct{ *posix.Posix }

// CompleteMultipartUpload implements backend.Backend.
func (s smallParts) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	body, err := s.join(in)
	if err != nil {
		return s3response.CompleteMultipartUploadResult{}, "", err
	}
	out, err := s.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: in.Bucket, Key: in.Key, UploadId: in.UploadId, PartNumber: aws.Int32(1),
		Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))),
	})
	if err != nil {
		return s3response.CompleteMultipartUploadResult{}, "", err
	}
	in.MultipartUpload.Parts = []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: out.ETag}}
	return s.Posix.CompleteMultipartUpload(ctx, in)
}

// join reads the parts that a Complete lists, after the checks of their ETags and order.
func (s smallParts) join(in *s3.CompleteMultipartUploadInput) ([]byte, error) {
	// Where versitygw keeps them; its process works in the folder of the buckets.
	dir := filepath.Join(*in.Bucket, posix.MetaTmpMultipartDir, fmt.Sprintf("%x", sha256.Sum256([]byte(*in.Key))), *in.UploadId)
	var all bytes.Buffer
	previous := int32(0)
	for _, part := range in.MultipartUpload.Parts {
		number := *part.PartNumber
		if number <= previous {
			return nil, s3err.GetAPIError(s3err.ErrInvalidPartOrder)
		}
		previous = number
		b, err := os.ReadFile(filepath.Join(dir, strconv.Itoa(int(number))))
		if err != nil || !backend.AreEtagsSame(fmt.Sprintf("%x", md5.Sum(b)), *part.ETag) { //nolint:gosec // what versitygw makes ETags of
			return nil, s3err.GetInvalidPartErr(*in.UploadId, number, *part.ETag)
		}
		all.Write(b)
	}
	return all.Bytes(), nil
}
