"""What applications do with boto3: boto3_check.py ENDPOINT BUCKET CANARY. The rest is boto3's own environment."""

import functools
import hashlib
import io
import os
import ssl
import sys
import tempfile
import traceback
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore import httpchecksum
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

endpoint, bucket, canary = sys.argv[1:]
frame = 64 << 10
sizes = [0, 1, 1000, frame - 1, frame, frame + 1, 3 * frame + 5, 5 * 2**20 + 1]
one_request = TransferConfig(multipart_threshold=5 * 2**30)


def new_client(**options):
    """One connection, no retries: a lost answer is an error, and soon."""
    config = Config(
        read_timeout=20, max_pool_connections=1, retries={"max_attempts": 0}, s3={"addressing_style": "path"}, **options
    )
    return boto3.client("s3", endpoint_url=endpoint, config=config)


s3 = new_client()


@functools.cache
def text(n):
    """n bytes that do not repeat; from 1000 bytes on they hold the canary."""
    b = b"".join(hashlib.sha512(b"%d" % i).digest() for i in range(n // 64 + 1))[:n]
    return b if n < 1000 else b[: n // 2] + canary.encode() + b[n // 2 + len(canary) :]


class Stream:
    """A stream that can neither seek nor tell its length."""

    def __init__(self, b):
        self._b = io.BytesIO(b)

    def read(self, n=-1):
        return self._b.read(n)


def put(key, body, **more):
    return s3.put_object(Bucket=bucket, Key=key, Body=body, **more)


def get(key, **more):
    out = s3.get_object(Bucket=bucket, Key=key, **more)
    body = out["Body"].read()
    assert len(body) == out["ContentLength"], (len(body), out)
    return body, out


def error(code, call, **arguments):
    try:
        call(Bucket=bucket, **arguments)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e.response
        return e.response
    raise AssertionError("no error")


def check_bodies():
    for n in sizes:
        body = text(n)
        with tempfile.TemporaryFile() as f:
            f.write(body)
            f.seek(0)
            bodies = {"bytes": body, "bytearray": bytearray(body), "buffer": io.BytesIO(body), "file": f}
            for kind, b in bodies.items():
                etag = put(f"bodies/{kind}/{n}", b)["ETag"]
                got, out = get(f"bodies/{kind}/{n}")
                assert got == body and out["ETag"] == etag, (kind, n)


def check_streams():
    for n in sizes:
        s3.upload_fileobj(Stream(text(n)), bucket, f"stream/{n}", Config=one_request)
        got = io.BytesIO()
        s3.download_fileobj(bucket, f"stream/{n}", got)
        assert got.getvalue() == text(n), n


def check_files():
    with tempfile.TemporaryDirectory() as d:
        up, down = os.path.join(d, "up"), os.path.join(d, "down")
        with open(up, "wb") as f:
            f.write(text(20 * 2**20 + 3))
        s3.upload_file(up, bucket, "file", Config=one_request)
        s3.download_file(bucket, "file", down)  # in ranges, each If-Match
        with open(down, "rb") as f:
            assert f.read() == text(20 * 2**20 + 3)


def check_parts():
    """Uploads in parts, of known and unknown length, whose parts suit the sealing and do not; read in ranges at a time."""
    for chunk in 5 * 2**20, 6 * 2**20 + 1:
        config = TransferConfig(multipart_threshold=chunk, multipart_chunksize=chunk, max_concurrency=4)
        for n, kind in (2 * chunk, io.BytesIO), (3 * chunk + 5, Stream), (chunk - 1, Stream):
            key, got = f"parts/{chunk}/{n}", io.BytesIO()
            s3.upload_fileobj(kind(text(n)), bucket, key, Config=config)
            s3.download_fileobj(bucket, key, got, Config=config)
            assert got.getvalue() == text(n), key
            head = s3.head_object(Bucket=bucket, Key=key, PartNumber=1)
            assert head.get("PartsCount", 1) == -(-n // chunk), head
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="parts/")["Contents"]
    assert len(listed) == 6 and all(o["Key"].endswith(f"/{o['Size']}") for o in listed), listed


def check_copies():
    """Copies at the proxy: by one request, and in parts where an object has more than the threshold; with metadata of their own."""
    put("copy/from", io.BytesIO(text(12 * 2**20 + 7)), Metadata={"a": "1"}, ContentType="x/y")
    for name, config in ("whole", one_request), ("parts", TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)):
        s3.copy({"Bucket": bucket, "Key": "copy/from"}, bucket, f"copy/{name}", Config=config)
        body, out = get(f"copy/{name}")
        assert body == text(12 * 2**20 + 7), name
        assert name == "parts" or (out["Metadata"], out["ContentType"]) == ({"a": "1"}, "x/y"), out
    s3.copy_object(Bucket=bucket, Key="copy/from", CopySource=f"{bucket}/copy/from", MetadataDirective="REPLACE", Metadata={"b": "2"})
    body, out = get("copy/from")
    assert body == text(12 * 2**20 + 7) and out["Metadata"] == {"b": "2"}, out


def check_parts_again():
    """What a resource's parts do: a part is sent twice, the upload is found again in the listing, and completed from there."""
    o = boto3.resource("s3", endpoint_url=endpoint, config=s3.meta.config).Object(bucket, "again")
    chunk = 5 * 2**20
    upload = o.initiate_multipart_upload(Metadata={"a": "1"})
    upload.Part(2).upload(Body=io.BytesIO(text(100)))
    for body in text(chunk)[::-1], text(chunk):
        upload.Part(1).upload(Body=body)
    found = [u for u in o.Bucket().multipart_uploads.all() if u.object_key == "again"]
    assert [u.id for u in found] == [upload.id], found
    parts = [{"PartNumber": p.part_number, "ETag": p.e_tag} for p in found[0].parts.all()]
    assert [p.size for p in found[0].parts.all()] == [chunk, 100]
    found[0].complete(MultipartUpload={"Parts": parts})
    body, out = get("again")
    assert body == text(chunk) + text(100) and out["Metadata"] == {"a": "1"}, out
    o.initiate_multipart_upload().abort()
    assert not list(o.Bucket().multipart_uploads.all())


def check_empty_then_body():
    """botocore sends Expect: 100-continue with every file, also with an empty one. Without a 100 for that, it takes the
    next answer on the connection apart wrongly, and waits for ever."""
    put("empty/first", io.BytesIO())
    put("empty/next", io.BytesIO(text(3000)))
    assert get("empty/next")[0] == text(3000)
    assert get("empty/first")[0] == b""


def check_refused_then_body():
    """The same where a request is refused, by the store or at once. Where it has a body, that is not sent."""
    signer = s3._request_signer
    good = signer._credentials
    for n in 0, 2**20:
        error("NoSuchBucket", lambda Bucket: s3.put_object(Bucket="no-such-" + bucket, Key="k", Body=io.BytesIO(text(min(n, 9)))))
        put(f"refused/{n}/1", io.BytesIO(text(3000)))
        signer._credentials = Credentials("AKIDOTHER", "secret-of-other")
        error("InvalidAccessKeyId", s3.put_object, Key="k", Body=io.BytesIO(text(n)))
        signer._credentials = good
        put(f"refused/{n}/2", io.BytesIO(text(4000)))
        assert get(f"refused/{n}/1")[0] == text(3000) and get(f"refused/{n}/2")[0] == text(4000)


def check_ranges():
    body = text(3 * frame + 5)
    put("ranges", body)
    n = len(body)
    for first, last in [(0, 0), (0, n - 1), (frame - 1, frame), (frame, 2 * frame - 1), (n - 1, n - 1), (1, n + 1000)]:
        got, out = get("ranges", Range=f"bytes={first}-{last}")
        assert got == body[first : last + 1], (first, last)
        assert out["ContentRange"] == f"bytes {first}-{min(last, n - 1)}/{n}", out
    assert get("ranges", Range="bytes=-7")[0] == body[-7:]
    assert get("ranges", Range="bytes=100-")[0] == body[100:]
    error("InvalidRange", s3.get_object, Key="ranges", Range=f"bytes={n}-")


def check_listings():
    for n in sizes:
        put(f"list/a/{n}", text(n))
    put("list/b", b"b")
    want = {f"list/a/{n}": n for n in sizes} | {"list/b": 1}
    for operation in "list_objects", "list_objects_v2":
        got = {}
        for page in s3.get_paginator(operation).paginate(Bucket=bucket, Prefix="list/", PaginationConfig={"PageSize": 3}):
            got |= {o["Key"]: o["Size"] for o in page.get("Contents", [])}  # MinIO's last page can be empty
        assert got == want, (operation, got)
    out = s3.list_objects_v2(Bucket=bucket, Prefix="list/", Delimiter="/")
    assert [p["Prefix"] for p in out["CommonPrefixes"]] == ["list/a/"], out
    for o in out["Contents"]:
        head = s3.head_object(Bucket=bucket, Key=o["Key"])
        assert (head["ETag"], head["ContentLength"]) == (o["ETag"], o["Size"]), (head, o)
    listed = {v["Key"]: v["Size"] for v in s3.list_object_versions(Bucket=bucket, Prefix="list/")["Versions"]}
    assert listed == want, listed


def check_odd_keys():
    odd = [
        "odd/with space", "odd/+plus+", "odd/%2F%percent", "odd/ünï/çødé 漢字 🔑", "odd/a&b=c?d#e;f", "odd/(~'!*@:,$)",
        "odd/[x]{y}|^`", "odd/<tag>", "odd/\"quoted\"\\", "odd/tab\tand\x7f",
    ]  # fmt: skip
    for key in odd:
        put(key, key.encode())
        assert get(key)[0] == key.encode(), key
    for operation in "list_objects", "list_objects_v2":
        out = getattr(s3, operation)(Bucket=bucket, Prefix="odd/")
        assert sorted(o["Key"] for o in out["Contents"]) == sorted(odd), (operation, out)
    out = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in odd]})
    assert sorted(d["Key"] for d in out["Deleted"]) == sorted(odd) and "Errors" not in out, out
    assert s3.list_objects_v2(Bucket=bucket, Prefix="odd/")["KeyCount"] == 0


def check_headers():
    sent = {
        "ContentType": "text/x-test; charset=utf-8", "CacheControl": "max-age=60", "ContentDisposition": "attachment; filename=x",
        "ContentEncoding": "gzip", "ContentLanguage": "de", "Metadata": {"name": "value with  spaces", "other": "x=y"},
    }  # fmt: skip
    put("headers", io.BytesIO(text(2000)), **sent)
    for out in s3.head_object(Bucket=bucket, Key="headers"), get("headers")[1]:
        assert {name: out[name] for name in sent} == sent, out
        assert out["ServerSideEncryption"] == "AES256", out
    out = get("headers", ResponseContentType="x/y")[1]
    assert out["ContentType"] == "x/y", out


def check_conditions():
    etag = put("conditions", b"one")["ETag"]
    error("PreconditionFailed", s3.get_object, Key="conditions", IfMatch='"other"')
    error("304", s3.get_object, Key="conditions", IfNoneMatch=etag)
    assert get("conditions", IfMatch=etag)[0] == b"one"
    if "IfNoneMatch" in s3.meta.service_model.operation_model("PutObject").input_shape.members:
        error("PreconditionFailed", s3.put_object, Key="conditions", Body=io.BytesIO(b"two"), IfNoneMatch="*")
        error("PreconditionFailed", s3.put_object, Key="conditions", Body=io.BytesIO(), IfNoneMatch="*")
        put("conditions", io.BytesIO(b"two"), IfMatch=etag)
        assert get("conditions")[0] == b"two"


def check_checksums():
    for algorithm in httpchecksum._SUPPORTED_CHECKSUM_ALGORITHMS:
        for n in 0, 10, 3 * frame:
            name = "Checksum" + algorithm.upper()
            sent = put("checksum", io.BytesIO(text(n)), ChecksumAlgorithm=algorithm.upper())
            head = s3.head_object(Bucket=bucket, Key="checksum", ChecksumMode="ENABLED")
            assert sent[name] == head[name] and get("checksum", ChecksumMode="ENABLED")[0] == text(n), (sent, head)


def check_presigned():
    put("presigned", text(2000))
    trust = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE")) if endpoint.startswith("https") else None
    client = new_client(signature_version="s3v4")  # older ones sign URLs by version 2 unless they are told
    url = client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "presigned"}, ExpiresIn=7 * 24 * 3600)
    with urllib.request.urlopen(url, context=trust, timeout=20) as answer:
        assert answer.read() == text(2000)
    url = client.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "presigned by ü"})
    request = urllib.request.Request(url, data=text(3000), method="PUT", headers={"Content-Type": "x/y"})
    with urllib.request.urlopen(request, context=trust, timeout=20) as answer:
        assert answer.status == 200
    out = get("presigned by ü")
    assert out[0] == text(3000) and out[1]["ContentType"] == "x/y", out[1]


def check_resource():
    objects = boto3.resource("s3", endpoint_url=endpoint, config=s3.meta.config).Bucket(bucket).objects
    assert {o.key: o.size for o in objects.filter(Prefix="list/a/")} == {f"list/a/{n}": n for n in sizes}
    objects.filter(Prefix="list/").delete()
    assert not list(objects.filter(Prefix="list/"))


def check_tagging():
    def tags():
        return {t["Key"]: t["Value"] for t in s3.get_object_tagging(Bucket=bucket, Key="tagged")["TagSet"]}

    put("tagged", b"x", Tagging="a=1&b=2")
    assert tags() == {"a": "1", "b": "2"}
    s3.put_object_tagging(Bucket=bucket, Key="tagged", Tagging={"TagSet": [{"Key": "c", "Value": "3"}]})
    assert tags() == {"c": "3"}
    assert get("tagged")[0] == b"x"


failed = 0
for name, check in list(globals().items()):
    if name.startswith("check_") and os.environ.get("ONLY", name) == name:
        try:
            check()
        except Exception as e:
            failed += 1
            lines = [frame.lineno for frame in traceback.extract_tb(e.__traceback__) if frame.filename == __file__]
            print(f"{name}, lines {lines}: {type(e).__name__}: {e}")
sys.exit(min(failed, 1))
