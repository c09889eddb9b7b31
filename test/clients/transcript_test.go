package clients_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sseproxy/sseproxy/internal/testbed"
)

// TestSeesTheSame: what boto3 is told by the proxy is what the store behind it would tell, but for what explained lists.
func TestSeesTheSame(t *testing.T) {
	for name, python := range pythons(t) {
		t.Run(name, func(t *testing.T) {
			testbed.Stores(t, func(t *testing.T, store *testbed.S3Store) {
				t.Parallel()
				want, got := direct(t, store).transcript(t, python), newFront(t, store, true).transcript(t, python)
				if len(got) != len(want) || len(got) < 100 {
					t.Fatalf("%d answers by the proxy, %d by the store", len(got), len(want))
				}
				for i := range want {
					for _, difference := range differences(want[i], got[i]) {
						if line := fmt.Sprintf("%v: %v%s", want[i]["request"], want[i]["status"], difference); !isExplained(line) {
							t.Error(line)
						}
					}
				}
			})
		})
	}
}

func (f *front) transcript(t *testing.T, python string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(newShell(t, f.awsEnv()...).run(t, python, scriptFile(t, "boto3_transcript.py"), f.url, f.bucket)) {
		var one map[string]any
		if err := json.Unmarshal([]byte(strings.ReplaceAll(line, f.url, "URL")), &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// differences lists where the proxy's answer is not the store's. Where the status differs the rest is no wonder.
func differences(want, got map[string]any) []string {
	if status := compare(".status", want["status"], got["status"]); status != nil {
		return status
	}
	return compare("", want, got)
}

// compare lists where two answers differ: the path of a member, the store's value and the proxy's.
func compare(path string, want, got any) []string {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			break
		}
		var found []string
		all := maps.Clone(want)
		maps.Copy(all, got)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			found = append(found, compare(path+"."+name, want[name], got[name])...)
		}
		return found
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			break
		}
		var found []string
		for i := range want {
			found = append(found, compare(path, want[i], got[i])...)
		}
		return found
	}
	if a, b := fmt.Sprint(want), fmt.Sprint(got); a != b {
		return []string{fmt.Sprintf("%s: %s not %s", path, b, a)}
	}
	return nil
}

func isExplained(difference string) bool {
	return slices.ContainsFunc(explained, func(e *regexp.Regexp) bool { return e.MatchString(difference) })
}

// explained are the differences that must be, and those where the store is not as S3 is.
var explained = func() (all []*regexp.Regexp) {
	for _, one := range []string{
		// The encryption is the proxy's.
		`\.ServerSideEncryption: AES256 not <nil>$`, `\.headers\.x-amz-server-side-encryption: present not <nil>$`,
		// A bucket is in the region that clients sign for.
		`^\[(head_bucket|get_bucket_location) .*\.answer\.(BucketRegion: us-east-1|LocationConstraint: <nil>) not `,
		// Checksums are kept sealed: a listing, which has no key, cannot tell their algorithm. Nor has S3 an empty algorithm.
		`\.(Contents|Versions)\.Checksum(Algorithm|Type): <nil> not `, `\.answer\.ChecksumAlgorithm: <nil> not $`,
		// What the store says of itself, and what S3 does not say.
		`\.headers\.(server|vary|strict-transport-security|x-(content-type-options|xss-protection|ratelimit-.*|minio-error-.*)): <nil> not present$`,
		`\.headers\.(accept-ranges|connection|x-amz-bucket-region): `,
		`\.answer\.Size: <nil> not `, `\.headers\.x-amz-object-size: <nil> not present$`,
		`^\[complete_multipart_upload .*200\.headers\.etag: <nil> not present$`, // S3 has it in the body
		`^\[list_parts .*\.NextPartNumberMarker: 2 not 0$`,                      // S3 has the last part of the page
		// S3 ignores a suffix range in a HEAD of an empty object; MinIO has a 206 for it.
		`^\[head_object .*Key:empty Range:bytes=-1\]\]: 206\.status: 200 not 206$`,
		// Errors: S3 gives a 416 the size, and none of them an ETag. HEAD has no body, so there is nothing to measure.
		`: 416\.headers\.content-range: present not <nil>$`,
		`: 4(04|12|16)\.headers\.(etag|last-modified|content-length|content-type): `,
		`: 304\.headers\.content-type: <nil> not present$`,
		// A checksum of the whole, where a store sends it with a range, or does not have it and the proxy does.
		`: 206\.(answer\.Checksum|headers\.x-amz-checksum-)(CRC32|crc32|Type|type): <nil> not `,
		`\.headers\.x-amz-checksum-(crc64nvme|type): present not <nil>$`, `\.answer\.Checksum(CRC64NVME: \S+|Type: FULL_OBJECT) not <nil>$`,
		// The checksum of a part is in the ETag that its upload gave, which the store does not know.
		`^\[list_parts .*\.answer\.(Parts\.Checksum\w+|ChecksumType): <nil> not `,
		// MinIO refuses a range that S3 ignores. Of nothing there is no last byte: S3 answers 416, to HEAD as to GET.
		`Range:bytes=5-2.*\.status: 200 not 416$`, `Key:empty Range:bytes=-1.*\.status: 416 not 20[06]$`,
		// What is wrong with a list of parts S3 looks for in the order of the list.
		`^\[complete_multipart_upload .*\.error: InvalidPartOrder not EntityTooSmall$`,
	} {
		all = append(all, regexp.MustCompile(one))
	}
	return all
}()
