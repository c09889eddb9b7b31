"""Prints the vector of TestLocalVector, made from the description in local.go alone.

Needs Python's package cryptography.
"""

import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def field(text):
    return struct.pack(">I", len(text.encode())) + text.encode()


label = b"sseproxy/1 local wrap"
material = bytes([2]) * 32
nonce = bytes(range(12))
context = {"project": "blue", "aws:s3:arn": "arn:aws:s3:::bucket"}

data = label + field("main") + struct.pack(">I", len(context))
for name in sorted(context):
    data += field(name) + field(context[name])
key = HKDF(SHA256(), 32, None, label).derive(material)
box = AESGCM(key).encrypt(nonce, bytes([0x42]) * 32, data)
print((struct.pack(">I", 2) + nonce + box).hex())
