#!/usr/bin/env python3
"""Opens sealed objects: a second implementation of docs/format.md and of the wrapping in docs/keys.md, written from
these texts alone.

    open.py VECTOR...
    open.py --bucket B --key K --envelope E --wrapping-key HEX < sealed > plain
    open.py --bucket B --key K --envelope E --customer-key HEX < sealed > plain
    open.py --bucket B --key K --envelope E --keyring FILE < sealed > plain

Needs Python 3.10 and python3-cryptography. It reads the whole object into memory and computes its CRC in Python: it is
here to prove the text, and to open objects when nothing else is at hand. Sections are named as in the text.
"""

import argparse
import base64
import hashlib
import json
import os
import struct
import sys
from bisect import bisect_left
from dataclasses import dataclass
from hmac import compare_digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand


class Refused(Exception):
    """The object does not open; args are the layer that refuses, as vectors name it, and why."""


def must(condition, layer, why):
    if not condition:
        raise Refused(layer, why)


# Conventions

F = 65536
S5 = 5 * 1024 * 1024
LONGEST_PART = 5 * 2**30  # sealed
LONGEST_TRAILER = 2**20


def lp16(x):
    return struct.pack(">H", len(x)) + x


def ceil(a, b):
    return -(-a // b)


def is_zero(b):
    return not any(b)


def open_aead(key, ad, sealed, layer, what):
    """key has 32 bytes, or 64 for two layers."""
    if len(key) == 64 and len(sealed) > 12:
        second = Cipher(AES256(key[32:]), CTR(sealed[:12] + bytes(4))).decryptor()
        sealed = sealed[:12] + second.update(sealed[12:])
    try:
        return AESGCM(key[:32]).decrypt(sealed[:12], sealed[12:], ad)
    except (InvalidTag, ValueError):
        raise Refused(layer, f"{what} is not authentic") from None


def expand(key, info):
    return HKDFExpand(SHA256(), 32, info).derive(key)


def derive(dek, purpose):
    """The key for a purpose; two, one behind the other, where the DEK is two."""
    if len(dek) == 64:
        return expand(dek[:32], b"sseproxy/1 " + purpose) + expand(dek[32:], b"sseproxy/1 second " + purpose)
    return expand(dek, b"sseproxy/1 " + purpose)


class Fields:
    """Takes fields off bytes, from the front."""

    def __init__(self, b, layer):
        self.b, self.layer = b, layer

    def take(self, n):
        must(0 <= n <= len(self.b), self.layer, "truncated")
        field, self.b = self.b[:n], self.b[n:]
        return field

    def unpack(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def lp16(self):
        return self.take(*self.unpack(">H"))


# Frames and parts


def frame_count(p):
    return max(1, ceil(p, F))


def sealed_part(p):
    return p + 28 * frame_count(p)


def open_part(key, sealed, multipart):
    """Opens the frames of one part; sealed is exactly its bytes."""
    plain, attempt, count = [], bytes(12), ceil(len(sealed), F + 28)
    for i in range(count):
        frame = sealed[i * (F + 28) : (i + 1) * (F + 28)]
        ad = struct.pack(">QB", i, i == count - 1) + attempt
        plain.append(open_aead(key, ad, frame, "frames", f"frame {i}"))
        if multipart and i == 0:
            attempt = frame[:12]
    return b"".join(plain)


# Trailer

ALGORITHMS = {  # a: name, length
    0: ("none", 0), 1: ("CRC32", 4), 2: ("CRC32C", 4), 3: ("CRC64NVME", 8), 4: ("SHA1", 20), 5: ("SHA256", 32),
    6: ("SHA512", 64), 7: ("MD5", 16), 8: ("XXHASH64", 8), 9: ("XXHASH3", 8), 10: ("XXHASH128", 16),
}  # fmt: skip
TYPES = {0: "none", 1: "FULL_OBJECT", 2: "COMPOSITE"}
SINGLE, REGULAR, IRREGULAR = 1, 2, 3


@dataclass
class Part:
    number: int
    size: int
    nonce: bytes = bytes(12)
    bound: bool = False
    slot_used: bool = False
    checksum: bytes = b""


@dataclass
class Trailer:
    kind: int
    parts: list
    crc: int | None  # of the whole plaintext; None where the field is not valid
    checksum: tuple  # algorithm's name, type's name, bytes


def is_regular(parts):
    """The conditions of kind 2."""
    *front, last = [p.size for p in parts]
    return (
        [p.number for p in parts] == list(range(1, len(parts) + 1))
        and last > 0
        and all(size == front[0] and size % F == 0 and size >= S5 and last <= size for size in front)
    )


def open_trailer(b, dek, multipart):
    """Checks a trailer; b is exactly its bytes."""

    def check(condition, why):
        must(condition, "trailer", why)

    tail = b[-16:]
    tail_P, tail_length, magic = struct.unpack(">QI4s", tail)
    check(magic == b"SSE1", "wrong magic")
    check(tail_length == len(b), "the tail has another length")

    # Structure
    f = Fields(b[:-16], "trailer")
    kind, s, reserved, N, P, part_size, token = f.unpack(">BB2sIQQ32s")
    check(kind in (SINGLE, REGULAR, IRREGULAR), "unknown kind")
    check((kind == SINGLE) != multipart, "the kind is not the envelope's")
    check(s == 32 or (s == 64 and kind == IRREGULAR), "wrong slot length")
    check(is_zero(reserved), "reserved bytes")
    check(1 <= N <= 10000, "number of parts")
    check(P == tail_P, "structure and tail have different plaintext lengths")
    rows = N if kind == IRREGULAR else R(P)
    parts = [Part(i + 1, part_size) for i in range(N)]
    for i in range(rows):
        nonce, flags = f.unpack(">12sI")
        if i >= N or kind == SINGLE:
            check(is_zero(nonce) and flags == 0, "a row that must be zero is not")
            continue
        check(flags & ~3 == 0, "reserved row flags")
        parts[i].nonce, parts[i].bound, parts[i].slot_used = nonce, bool(flags & 1), bool(flags & 2)
        check(parts[i].bound or is_zero(nonce), "an unbound row has a nonce")

    if kind == IRREGULAR:
        for part in parts:
            part.number, part.size = f.unpack(">IQ")
        numbers = [0] + [part.number for part in parts]
        check(all(x < y <= 10000 for x, y in zip(numbers, numbers[1:])), "part numbers do not ascend in 1 … 10000")
        check(sum(part.size for part in parts) == P, "the parts do not add up")
        check(part_size == 0, "part size of an irregular object")
        check(s == 64 or not is_regular(parts), "irregular, but could be regular")
    else:
        parts[-1].size = P - part_size * (N - 1)
        check(is_regular(parts), "the parts are not regular")
        check(N > 1 or part_size == P, "part size of an object of one part")
    check(all(sealed_part(part.size) <= LONGEST_PART for part in parts), "a part that no store takes")
    if kind == SINGLE:
        check(N == 1 and is_zero(token), "fields that do not fit a single object")

    box_length = 28 + 112 + s * rows
    if kind == IRREGULAR:
        frames = sum(sealed_part(part.size) for part in parts)
        length = irregular_length(frames + 56 + 28 * N + box_length + 16) - frames
    else:
        length = T(P)
    check(len(b) == length, "not the length that the structure gives")
    check(is_zero(f.take(len(f.b) - box_length)), "padding")

    # Box
    structure = b[: -16 - box_length]
    record = open_aead(derive(dek, b"trailer"), structure + tail, f.b, "trailer", "the box")
    f = Fields(record, "trailer")
    upload, flags, a, kind_of_sum, reserved, crc, declared = f.unpack(">32sBBB5sQ64s")
    check(kind != SINGLE or is_zero(upload), "upload id of a single object")
    check(flags & ~1 == 0, "reserved flags")
    check(flags == 1 or (crc == 0 and kind != SINGLE), "CRC field")
    check(a in ALGORITHMS, "unknown checksum algorithm")
    check(kind_of_sum in TYPES and (kind_of_sum == 0) == (a == 0), "checksum type")
    check(kind != SINGLE or a == 0 or kind_of_sum == 1, "checksum type of a single object")
    check(is_zero(reserved), "reserved bytes")
    name, size = ALGORITHMS[a]
    check(is_zero(declared[size:]), "bytes beyond the checksum")
    for i in range(rows):
        slot = f.take(s)
        used = i < N and parts[i].slot_used
        check(not used or 0 < size <= s, "a slot for no checksum, or too short for it")
        check(is_zero(slot[size:] if used else slot), "bytes beyond a slot's checksum")
        if used:
            parts[i].checksum = slot[:size]
    check((s == 64) == any(len(part.checksum) > 32 for part in parts), "slots wider than needed")
    return Trailer(kind, parts, crc if flags else None, (name, TYPES[kind_of_sum], declared[:size]))


# Sizes


def R(P):
    return min(ceil(P, S5), 10000)


def T(P):
    return 16 * R(P) + 32 * R(P) + 212


def C(P):
    return P + 28 * ceil(P, F) + T(P) if P > 0 else 0


def inverse(L):
    """The P with C(P) = L, or None."""
    P = bisect_left(range(L + 1), L, key=C)
    return P if C(P) == L else None


def is_irregular(L):
    P = inverse(L - 1)
    return P is not None and P > 0 and P % F == 0


def irregular_length(need):
    """The smallest C(F·k) + 1, k ≥ 1, that holds so many bytes."""
    lengths = range(1, need // F + 2)
    k = lengths[bisect_left(lengths, need, key=lambda k: C(F * k) + 1)]
    return C(F * k) + 1


# Envelope

DSSE = 4


@dataclass
class Envelope:
    mode: int
    multipart: bool
    length: int
    commitment: bytes
    own_key: bool
    key_id: bytes
    context: dict  # of bytes
    wrapped_key: bytes
    second_key_id: bytes
    second_wrapped_key: bytes
    head: bytes  # every byte before the wrapped DEKs
    wrapped_second: bytes
    wrapped_dek: bytes


def decode_envelope(text):
    def check(condition, why):
        must(condition, "envelope", why)

    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise Refused("envelope", "not base64url") from None
    check(base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == text, "not canonical base64url")
    check(len(raw) <= 1024, "too long")
    f = Fields(raw, "envelope")
    version, mode, flags, length, commitment, n = f.unpack(">BBBQ32sB")
    check(version == 1, "unknown version")
    check(mode in (1, 2, 3, 4), "unknown mode")
    check(flags & ~3 == 0, "reserved flags")
    multipart, own_key = bool(flags & 1), bool(flags & 2)
    check(length == 0 or not multipart, "length of a multipart object")
    check(length <= 10000 * 5 * 2**30, "length of no object")
    key_id, context, wrapped_key = f.take(n), f.lp16(), f.lp16()
    second_key_id, second_wrapped_key, wrapped_second = b"", b"", b""
    if mode == DSSE:
        second_key_id, second_wrapped_key, wrapped_second = f.take(*f.unpack(">B")), f.lp16(), f.take(28 + 32)
        check(own_key, "two layers with a bucket's wrapping key")
        check(is_key_id(second_key_id) and second_key_id != key_id, "second key id")
        check(1 <= len(second_wrapped_key) <= 512, "second wrapped key")
    wrapped_dek = f.b
    if mode == 3:
        check(n == 0 and not context and not own_key and len(wrapped_key) == 48, "fields that do not fit mode C")
    else:
        check(is_key_id(key_id), "key id")
        check(1 <= len(wrapped_key) <= 512, "wrapped key")
    check(28 + 33 <= len(wrapped_dek) <= 28 + 33 + 64, "wrapped DEK")

    f, pairs, previous = Fields(context, "envelope"), {}, None
    while f.b:
        name, value = f.lp16(), f.lp16()
        check(previous is None or name > previous, "context is not ascending")
        previous, pairs[name] = name, value
        try:
            name.decode(), value.decode()
        except UnicodeDecodeError:
            raise Refused("envelope", "context is not UTF-8") from None
    head = raw[: len(raw) - len(wrapped_second) - len(wrapped_dek)]
    return Envelope(
        mode, multipart, length, commitment, own_key, key_id, pairs, wrapped_key, second_key_id, second_wrapped_key,
        head, wrapped_second, wrapped_dek,
    )  # fmt: skip


def is_key_id(b):
    return len(b) >= 1 and all(0x21 <= c <= 0x7E for c in b)


def customer_wrapping_key(customer_key, envelope):
    must(len(customer_key) == 32, "unwrap", "a customer's key has 32 bytes")
    salt, check = envelope.wrapped_key[:32], envelope.wrapped_key[32:]
    derived = HKDF(SHA256(), 48, salt, b"sseproxy/1 customer key").derive(customer_key)
    must(compare_digest(derived[32:], check), "unwrap", "not the customer's key")
    return derived[:32]


def local_wrapping_key(keyring, envelope, bucket, key):
    """Unwraps the wrapping key, or both, as the provider `local` does: docs/keys.md."""
    arn = b"arn:aws:s3:::" + bucket
    bucket_context, object_context = {b"aws:s3:arn": arn}, envelope.context | {b"aws:s3:arn": arn + b"/" + key}
    context = object_context if envelope.own_key else bucket_context
    wrapping_key = local_unwrap(keyring, envelope.key_id, envelope.wrapped_key, context)
    if envelope.mode == DSSE:
        wrapping_key += local_unwrap(keyring, envelope.second_key_id, envelope.second_wrapped_key, bucket_context)
    return wrapping_key


def local_unwrap(keyring, key_id, wrapped_key, pairs):
    def lp32(x):
        return struct.pack(">I", len(x)) + x

    label = b"sseproxy/1 local wrap"
    ad = label + lp32(key_id) + struct.pack(">I", len(pairs))
    ad += b"".join(lp32(name) + lp32(pairs[name]) for name in sorted(pairs))
    must(len(wrapped_key) == 64, "unwrap", "not a key that local has wrapped")
    (number,) = struct.unpack(">I", wrapped_key[:4])
    for k in json.loads(keyring)["keys"]:
        for version in k["versions"]:
            if k["id"].encode() == key_id and version["version"] == number and version["state"] == "enabled":
                kek = HKDF(SHA256(), 32, None, label).derive(base64.b64decode(version["material"]))
                return open_aead(kek, ad, wrapped_key[4:], "unwrap", "the wrapped wrapping key")
    raise Refused("unwrap", f"the keyring has no key {key_id.decode()} with version {number} enabled")


def unwrap(envelope, wrapping_key, bucket, key):
    must(len(wrapping_key) == (64 if envelope.mode == DSSE else 32), "unwrap", "keys have 32 bytes, one for each layer")

    def ad(label):
        return b"sseproxy/1 " + label + envelope.head + lp16(bucket) + lp16(key)

    second, commitment = b"", b"commitment"
    if envelope.mode == DSSE:
        must(wrapping_key[:32] != wrapping_key[32:], "unwrap", "both wrapping keys are one")
        second = open_aead(wrapping_key[32:], ad(b"second dek"), envelope.wrapped_second, "unwrap", "the second DEK")
        wrapping_key, commitment = wrapping_key[:32] + expand(second, b"sseproxy/1 second wrap"), b"second commitment"
    secret = open_aead(wrapping_key, ad(b"dek"), envelope.wrapped_dek, "unwrap", "the wrapped DEK")
    dek, a, checksum = secret[:32] + second, secret[32], secret[33:]
    must(compare_digest(expand(dek, b"sseproxy/1 " + commitment), envelope.commitment), "unwrap", "commitment")
    must(a in ALGORITHMS and ALGORITHMS[a][1] == len(checksum), "unwrap", "checksum of unknown form")
    return dek, (ALGORITHMS[a][0], checksum)


# Reading


@dataclass
class Opened:
    plain: bytes | None  # None where the frames were omitted
    length: int
    trailer: Trailer | None  # None of the empty single object
    wrapped_checksum: tuple


def open_object(bucket, key, text, secret, body, omitted=0):
    """Opens a whole object; secret is the wrapping key, in mode DSSE two of them, or in mode C the customer's key.

    A vector may leave out the frames: omitted is then their length, and body the trailer.
    """
    envelope = decode_envelope(text)
    wrapping_key = customer_wrapping_key(secret, envelope) if envelope.mode == 3 else secret
    dek, wrapped_checksum = unwrap(envelope, wrapping_key, bucket, key)

    L = omitted + len(body)
    if envelope.multipart:
        must(L > 0 and (inverse(L) is not None or is_irregular(L)), "size", f"no multipart object has {L} bytes")
    else:
        must(L == C(envelope.length), "size", f"{L} bytes are not those of a single object of {envelope.length}")
    if L == 0:
        return Opened(b"", 0, None, wrapped_checksum)

    (length,) = struct.unpack(">I", body[-8:-4]) if is_irregular(L) else (T(inverse(L)),)
    must(16 <= length <= min(len(body), LONGEST_TRAILER), "trailer", "the tail has an impossible length")
    frames, trailer = body[:-length], open_trailer(body[-length:], dek, envelope.multipart)
    sizes = [part.size for part in trailer.parts]
    must(envelope.multipart or sum(sizes) == envelope.length, "trailer", "plaintext length is not the envelope's")
    must(sum(map(sealed_part, sizes)) + length == L, "size", "not the length that the structure gives")
    if omitted:
        return Opened(None, sum(sizes), trailer, wrapped_checksum)

    plain = []
    for part in trailer.parts:
        purpose = b"part" + struct.pack(">I", part.number) if envelope.multipart else b"single"
        sealed, frames = frames[: sealed_part(part.size)], frames[sealed_part(part.size) :]
        must(not part.bound or sealed[:12] == part.nonce, "frames", f"part {part.number} is another attempt")
        plain.append(open_part(derive(dek, purpose), sealed, envelope.multipart))
    plain = b"".join(plain)
    must(envelope.multipart or crc64nvme(plain) == trailer.crc, "trailer", "CRC of another plaintext")
    return Opened(plain, len(plain), trailer, wrapped_checksum)


def _crc64_table():
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x9A6C9329AC4BC9B5 if n & 1 else 0)
        yield n


CRC64 = list(_crc64_table())


def crc64nvme(b):
    """CRC-64/NVME: polynomial 0xad93d23594c93659, here reflected; input and output reflected, inverted at both ends."""
    crc = 2**64 - 1
    for byte in b:
        crc = crc >> 8 ^ CRC64[(crc ^ byte) & 0xFF]
    return crc ^ (2**64 - 1)


# Vectors

DESCRIBED = (
    "plaintext-length", "plaintext-sha256", "part-sizes", "unbound", "crc64nvme", "checksum", "part-checksums",
    "wrapped-checksum",
)  # fmt: skip


def describe(opened):
    """What a vector with `expect: open` says of its object."""
    said = {"plaintext-length": str(opened.length)}
    if opened.plain is not None:
        said["plaintext-sha256"] = hashlib.sha256(opened.plain).hexdigest()
    if opened.wrapped_checksum[1]:
        said["wrapped-checksum"] = f"{opened.wrapped_checksum[0]} {opened.wrapped_checksum[1].hex()}"
    if trailer := opened.trailer:
        parts = trailer.parts
        said["part-sizes"] = " ".join(f"{part.number}:{part.size}" for part in parts)
        said["unbound"] = " ".join(str(part.number) for part in parts if not part.bound and trailer.kind != SINGLE)
        said["crc64nvme"] = "" if trailer.crc is None else f"{trailer.crc:016x}"
        name, kind, checksum = trailer.checksum
        said["checksum"] = f"{name} {kind} {checksum.hex()}" if checksum else ""
        if any(part.slot_used for part in parts):
            said["part-checksums"] = " ".join(part.checksum.hex() or "-" for part in parts)
    return {name: value for name, value in said.items() if value}


def read_vector(path):
    with open(path, encoding="utf-8") as file:
        header, _, body = file.read().partition("\n\n")
    v = {name: value.strip() for name, value in (line.split(":", 1) for line in header.splitlines())}
    body = base64.b64decode(body)
    if "zeros" in v:
        at, count = map(int, v["zeros"].split("+"))
        body = body[:at] + bytes(count) + body[at:]
    return v, body


def run_vector(path):
    """Returns what is wrong with a vector's outcome, or None."""
    v, body = read_vector(path)
    key, secret = bytes.fromhex(v["key-hex"]), bytes.fromhex(v.get("wrapping-key") or v["customer-key"])
    try:
        opened = open_object(v["bucket"].encode(), key, v["envelope"], secret, body, int(v.get("frames-omitted", "0")))
    except Refused as refused:
        layer, why = refused.args
        return None if v["expect"] == layer else f"expected {v['expect']}, refused by {layer}: {why}"
    if v["expect"] != "open":
        return f"opened, expected {v['expect']} to refuse it"
    wanted, got = {name: v[name] for name in DESCRIBED if name in v}, describe(opened)
    return None if wanted == got else f"opened as {got}, not {wanted}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vector", nargs="*")
    parser.add_argument("--bucket", type=os.fsencode)
    parser.add_argument("--key", type=os.fsencode, help="the object's key, percent-decoded")
    parser.add_argument("--envelope", help="the value of x-amz-meta-sseproxy")
    parser.add_argument("--wrapping-key", "--customer-key", dest="secret", type=bytes.fromhex, metavar="HEX")
    parser.add_argument("--keyring", type=argparse.FileType("rb"), metavar="FILE")
    a = parser.parse_args()
    if not a.vector:
        if None in (a.bucket, a.key, a.envelope, a.secret or a.keyring):
            parser.error("give vectors, or --bucket, --key, --envelope and a key")
        try:
            if a.keyring:
                a.secret = local_wrapping_key(a.keyring.read(), decode_envelope(a.envelope), a.bucket, a.key)
            opened = open_object(a.bucket, a.key, a.envelope, a.secret, sys.stdin.buffer.read())
        except Refused as refused:
            sys.exit("refused by {}: {}".format(*refused.args))
        sys.stdout.buffer.write(opened.plain)
        return
    failed = 0
    for path in a.vector:
        wrong = run_vector(path)
        failed += wrong is not None
        print("ok  " if wrong is None else "FAIL", os.path.basename(path).removesuffix(".txt"), wrong or "")
    print(f"{len(a.vector) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
