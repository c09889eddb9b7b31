// What applications do with the AWS SDK for JavaScript, with its defaults: node sdk.js ENDPOINT BUCKET CANARY. It ends with an
// error if anything is not as it should be. TestNodeSDK runs it.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createReadStream, writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import {
  CopyObjectCommand, DeleteObjectsCommand, GetObjectCommand, HeadObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const [endpoint, Bucket, canary] = process.argv.slice(2);
const client = new S3Client({ endpoint, forcePathStyle: true });
const MiB = 1 << 20;

// text gives n bytes, with the canary in the middle.
function text(n) {
  const body = randomBytes(n);
  if (n >= 1000) body.write(canary, n >> 1);
  return body;
}

async function read(Key, input = {}) {
  const out = await client.send(new GetObjectCommand({ Bucket, Key, ...input }));
  return Buffer.from(await out.Body.transformToByteArray());
}

// requireObject compares an object with what it should be, in a GET, whose checksum the SDK verifies, and in a HEAD.
async function requireObject(Key, body) {
  assert.ok((await read(Key)).equals(body), `${Key} comes back altered`);
  assert.equal((await client.send(new HeadObjectCommand({ Bucket, Key }))).ContentLength, body.length, Key);
}

const checks = {
  async put() {
    for (const n of [0, 1, 65536, 65537, 3 * MiB + 5]) {
      const body = text(n);
      const out = await client.send(new PutObjectCommand({ Bucket, Key: `put/${n}`, Body: body, Metadata: { colour: "blue" } }));
      assert.ok(out.ChecksumCRC32, "the SDK's own checksum is not in the answer");
      await requireObject(`put/${n}`, body);
    }
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: "put/1" }));
    assert.deepEqual(head.Metadata, { colour: "blue" });
  },

  // A stream of known length goes as aws-chunked within Transfer-Encoding: chunked, with the checksum behind it.
  async stream() {
    const body = text(7 * MiB + 3);
    writeFileSync("stream", body);
    for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "CRC64NVME", "SHA256"]) {
      const Key = `stream/${ChecksumAlgorithm}`;
      await client.send(new PutObjectCommand({
        Bucket, Key, Body: createReadStream("stream"), ContentLength: body.length, ChecksumAlgorithm,
      }));
      await requireObject(Key, body);
    }
  },

  async upload() {
    const body = text(23 * MiB + 7);
    let at = 0;
    const Body = Readable.from((function* () {
      for (; at < body.length; at += 100_003) yield body.subarray(at, at + 100_003);
    })());
    let sent = 0;
    const upload = new Upload({ client, params: { Bucket, Key: "upload", Body }, queueSize: 3 });
    upload.on("httpUploadProgress", (progress) => { sent = Math.max(sent, progress.loaded); });
    const done = await upload.done();
    assert.equal(sent, body.length);
    assert.match(done.ETag, /-5"$/, "the object is not of five parts");
    await requireObject("upload", body);
    const second = await client.send(new GetObjectCommand({ Bucket, Key: "upload", PartNumber: 2 }));
    assert.equal(second.PartsCount, 5);
    assert.ok(Buffer.from(await second.Body.transformToByteArray()).equals(body.subarray(5 * MiB, 10 * MiB)));
    await new Upload({ client, params: { Bucket, Key: "small upload", Body: Readable.from([canary]) } }).done();
    await requireObject("small upload", Buffer.from(canary));
  },

  async ranges() {
    const body = text(11 * MiB);
    await new Upload({ client, params: { Bucket, Key: "ranges", Body: body } }).done();
    for (const [Range, from, to] of [
      ["bytes=0-0", 0, 1], ["bytes=65535-65536", 65535, 65537], [`bytes=${5 * MiB - 3}-${10 * MiB + 3}`, 5 * MiB - 3, 10 * MiB + 4],
      ["bytes=-5", 11 * MiB - 5, 11 * MiB], [`bytes=${11 * MiB - 1}-`, 11 * MiB - 1, 11 * MiB],
    ]) {
      assert.ok((await read("ranges", { Range })).equals(body.subarray(from, to)), Range);
    }
    await assert.rejects(read("ranges", { Range: `bytes=${11 * MiB}-` }), { name: "InvalidRange" });
  },

  async presigned() {
    const body = text(200_000);
    const put = await getSignedUrl(client, new PutObjectCommand({ Bucket, Key: "presigned/ü +", ContentType: "text/x-canary" }));
    const stored = await fetch(put, { method: "PUT", body, headers: { "Content-Type": "text/x-canary" } });
    assert.equal(stored.status, 200, await stored.text());
    const got = await fetch(await getSignedUrl(client, new GetObjectCommand({ Bucket, Key: "presigned/ü +" })));
    assert.equal(got.headers.get("Content-Type"), "text/x-canary");
    assert.ok(Buffer.from(await got.arrayBuffer()).equals(body));
  },

  async conditions() {
    const Key = "condition";
    const first = await client.send(new PutObjectCommand({ Bucket, Key, Body: canary, IfNoneMatch: "*" }));
    const rejects = (input) => assert.rejects(client.send(new PutObjectCommand({ Bucket, Key, Body: "other", ...input })),
      (error) => error.name === "PreconditionFailed" && error.$metadata.httpStatusCode === 412);
    await rejects({ IfNoneMatch: "*" });
    await requireObject(Key, Buffer.from(canary));
    const second = await client.send(new PutObjectCommand({ Bucket, Key, Body: canary + canary, IfMatch: first.ETag }));
    await rejects({ IfMatch: first.ETag });
    assert.notEqual(second.ETag, first.ETag);
    await requireObject(Key, Buffer.from(canary + canary));
    await assert.rejects(read(Key, { IfNoneMatch: second.ETag }), (error) => error.$metadata.httpStatusCode === 304);
  },

  async copies() {
    await client.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/upload` }));
    await requireObject("copy", await read("upload"));
  },

  async deletes() {
    const list = async () => (await client.send(new ListObjectsV2Command({ Bucket }))).Contents ?? [];
    const before = await list();
    assert.ok(before.length > 12);
    for (const { Key, Size } of before) {
      assert.equal((await client.send(new HeadObjectCommand({ Bucket, Key }))).ContentLength, Size, Key);
    }
    const Objects = before.map(({ Key }) => ({ Key })).filter(({ Key }) => Key !== "upload");
    const out = await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    assert.equal(out.Deleted.length, Objects.length);
    assert.equal(out.Errors, undefined);
    assert.deepEqual((await list()).map(({ Key }) => Key), ["upload"]);
  },
};

for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
  } catch (error) {
    error.message = `${name}: ${error.message}`;
    throw error;
  }
}
