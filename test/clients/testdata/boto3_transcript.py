"""What a client is told: boto3_transcript.py ENDPOINT BUCKET prints a line of JSON for each of a list of requests, with what
it is told by chance (names, dates, ids) taken out. The rest is boto3's own environment."""

import hashlib
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

endpoint, bucket = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint, config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}))
ids = "ETag VersionId DeleteMarkerVersionId UploadId NextVersionIdMarker NextUploadIdMarker".split()
dates = "LastModified Initiated Expires".split()
tokens = "ContinuationToken NextContinuationToken Marker NextMarker KeyMarker NextKeyMarker".split()  # MinIO's are opaque
seen = {}  # ids by their order
frame = 64 << 10


def text(name, n):
    """n bytes that no other name has."""
    return b"".join(hashlib.sha512(b"%s %d" % (name.encode(), i)).digest() for i in range(n // 64 + 1))[:n]


def shown(name, value, within=""):
    """What is printed of a member of an answer. The ETag of a part in a listing need not be that of its upload."""
    if isinstance(value, dict):
        return {k: shown(k, v, name) for k, v in value.items()}
    if isinstance(value, list):
        return [shown(name, v, within) for v in value]
    if isinstance(value, StreamingBody):
        return hashlib.sha256(value.read()).hexdigest()
    if name == "ETag" and within == "Parts":
        return "present"
    if name in ids and value not in ("", "null"):
        seen.setdefault(value.strip('"'), f"id {len(seen) + 1}")
    return "present" if name in dates or name in tokens and value else value


def ask(operation, **arguments):
    """Prints what an operation is answered with."""
    arguments = {"Bucket": bucket} | arguments
    told, out = {"request": [operation, arguments | {"Body": len(arguments.get("Body", ""))}]}, {}
    try:
        out = getattr(s3, operation)(**arguments)
        meta = out.pop("ResponseMetadata")
        told["answer"] = shown("", out)
    except ClientError as e:
        meta = e.response["ResponseMetadata"]
        told["error"] = e.response["Error"]["Code"]
    told |= {"status": meta["HTTPStatusCode"], "headers": dict.fromkeys(meta["HTTPHeaders"], "present")}
    line = json.dumps(told, default=str).replace(bucket, "BUCKET")
    for value, label in seen.items():
        line = line.replace(value, label)
    print(line)
    return out


def put(key, n, **more):
    return ask("put_object", Key=key, Body=text(key + str(more), n), **more)


def read(key, **more):
    for operation in "head_object", "get_object":
        ask(operation, Key=key, **more)


etag = put("a", 2000)["ETag"]
read("a")
read("a", ChecksumMode="ENABLED") if "ChecksumMode" in s3.meta.service_model.operation_model("GetObject").input_shape.members else None
for r in "0-0", "10-19", "-5", "-9999", "1999-", "1990-3000", "2000-", "5-2", "-0", "0-1,5-6", "x":
    read("a", Range="bytes=" + r)
for e in etag, etag.strip('"'), '"other"', "*", f'"other", {etag}', "W/" + etag:
    read("a", IfMatch=e)
    read("a", IfNoneMatch=e)
for d in "2020-01-01", "2090-01-01":
    read("a", IfModifiedSince=d)
    read("a", IfUnmodifiedSince=d)
read("a", IfMatch=etag, IfUnmodifiedSince="2020-01-01")
read("a", IfNoneMatch='"other"', IfModifiedSince="2090-01-01")
ask("get_object", Key="a", ResponseContentType="a/b", ResponseCacheControl="x", ResponseContentDisposition="y",
    ResponseContentEncoding="gzip", ResponseContentLanguage="de", ResponseExpires="2090-01-01")  # fmt: skip
read("none")
read("none", Range="bytes=0-1")
read("a/none")
ask("get_object", Bucket="no-such-bucket", Key="k")
ask("put_object", Bucket="no-such-bucket", Key="k", Body=text("k", 100))

put("empty", 0)
read("empty")
read("empty", Range="bytes=0-0")
read("empty", Range="bytes=-1")
put("dir/", 0)
read("dir/")
put("large", 3 * frame + 5)
read("large", Range=f"bytes={frame - 1}-{2 * frame}")
put("all", 100, ContentType="text/x", CacheControl="no-cache", ContentLanguage="de", ContentDisposition="inline", ContentEncoding="gzip",
    Expires="2090-01-01", Metadata={"a": "1", "b-c": "two  words", "UPPER": "Case"}, Tagging="t=1", StorageClass="STANDARD")  # fmt: skip
read("all")
ask("get_object_tagging", Key="all")
ask("put_object_tagging", Key="all", Tagging={"TagSet": [{"Key": "x", "Value": "y"}]})
ask("get_object_tagging", Key="all")
read("all")
ask("delete_object_tagging", Key="all")
ask("get_object_tagging", Key="none")
ask("put_object_tagging", Key="none", Tagging={"TagSet": []})

for operation in "list_objects", "list_objects_v2", "list_object_versions":
    ask(operation)
    ask(operation, Prefix="a", MaxKeys=1)
    ask(operation, Delimiter="/")
    ask(operation, Delimiter="/", Prefix="dir/")
    ask(operation, Prefix="nothing")
    ask(operation, MaxKeys=0)
    ask(operation, MaxKeys=2, EncodingType="url")
    ask(operation, Bucket="no-such-bucket")
ask("list_objects_v2", StartAfter="b", FetchOwner=True)
ask("list_objects", Marker="b")
ask("list_object_versions", KeyMarker="b")

for operation in ("head_bucket", "get_bucket_location", "get_bucket_versioning", "get_bucket_policy", "get_bucket_acl", "get_bucket_cors",
                  "get_bucket_tagging", "get_object_lock_configuration", "get_bucket_ownership_controls", "get_public_access_block"):  # fmt: skip
    ask(operation)
    ask(operation, Bucket="no-such-bucket")
ask("put_bucket_tagging", Tagging={"TagSet": [{"Key": "x", "Value": "y"}]})
ask("get_bucket_tagging")

ask("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})
ask("get_bucket_versioning")
version = put("a", 2001)
read("a", VersionId=version.get("VersionId", "null"))
put("a", 2002)
read("a")
read("a", VersionId=version.get("VersionId", "null"))
read("a", VersionId="null")
ask("list_object_versions", Prefix="a")
ask("delete_object", Key="a")
read("a")
ask("list_object_versions", Prefix="a")
ask("list_objects_v2", Prefix="a")
ask("delete_object", Key="a", VersionId=version.get("VersionId", "null"))
ask("delete_object", Key="none")
ask("delete_objects", Delete={"Objects": [{"Key": "all"}, {"Key": "empty"}, {"Key": "missing"}]})
ask("delete_objects", Delete={"Objects": [{"Key": "large"}], "Quiet": True})
ask("list_objects_v2")

upload = ask("create_multipart_upload", Key="mp", ContentType="x/y", Metadata={"a": "1"})["UploadId"]
parts = []
for n, size in (1, 5 << 20), (2, 100):
    out = ask("upload_part", Key="mp", UploadId=upload, PartNumber=n, Body=text("part", size))
    parts.append({"ETag": out["ETag"], "PartNumber": n})
ask("list_parts", Key="mp", UploadId=upload)
ask("list_multipart_uploads")
ask("upload_part", Key="mp", UploadId="other", PartNumber=1, Body=b"x")
ask("complete_multipart_upload", Key="mp", UploadId=upload, MultipartUpload={"Parts": parts[::-1]})
ask("complete_multipart_upload", Key="mp", UploadId=upload, MultipartUpload={"Parts": [parts[0] | {"ETag": "x"}]})
ask("complete_multipart_upload", Key="mp", UploadId=upload, MultipartUpload={"Parts": parts})
ask("list_parts", Key="mp", UploadId=upload)
read("mp")
read("mp", PartNumber=1)
read("mp", PartNumber=2)
read("mp", PartNumber=3)
read("mp", Range=f"bytes={(5 << 20) - 1}-{5 << 20}")
ask("list_objects_v2", Prefix="mp")
upload = ask("create_multipart_upload", Key="mp")["UploadId"]
ask("abort_multipart_upload", Key="mp", UploadId=upload)
ask("abort_multipart_upload", Key="mp", UploadId=upload)
