"""Makes sealed_v1.json: the sealed format, version 1, suite 1, written a second time and in another language.

It shares no code with the vault: HKDF is put together from hmac and hashlib, AES-GCM comes from `cryptography`. The
vectors are committed and must open forever; run this only to add more, and never change one that is there.

    python3 tests/golden/make_sealed_v1.py > tests/golden/sealed_v1.json

A short plaintext stands as it is. A long one is the pattern `byte[i] = (31 * i + 7) mod 256` of a given length, and its
record is given by SHA-256, to keep the file small enough to read.
"""

import hashlib
import hmac
import json
import struct
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# The vectors that were published with the format, written down by hand: the code below must arrive at them.
PUBLISHED = {
    "published token": (
        "54560101000000030000000000000009000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
        "27d9413d7f2927c0778a7145d0ebcb2708ea1d98c9ecd6d1a173d74b44a7af4e"
        "d3d3f79d548e560876953ce426204e37246f32bb9deb867cc18d5b32a89a3d800e54e2d1c45ca91611"
    ),
    "published user key": (
        "54560101000000070000000000000003000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
        "c5390c2e6f1bd02f02cb266991714a54525c4920b3069a66f0f0c9f6f7f4407d"
        "b773695eff263b8297eedd0ea2cce3524ee576eca67f7a5407bfd6bdf3a0c1636461411cbebcd9b26a5f27f3c1d593cd"
    ),
}
USER_KEY, TOKEN, LOCAL_DATA_KEY, ENGINE_REGISTRY, OUTBOX_ENTRY = 1, 2, 3, 4, 5
U32_MAX, U64_MAX = 2**32 - 1, 2**64 - 1
ORDERLY_SALT = bytes(range(32))
LONGEST_WRITTEN_OUT = 256


def hkdf_extract(salt, key):
    return hmac.new(salt, key, hashlib.sha256).digest()


def hkdf_expand(prk, info, length):
    output, block, counter = b"", b"", 1
    while len(output) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
        counter += 1
    return output[:length]


def length_prefixed(text):
    data = text.encode("ascii")
    return struct.pack(">H", len(data)) + data


def seal(parent, generation, version, salt, context, plaintext):
    """head || salt || commitment || ciphertext || tag"""
    kind, *places = context
    place = b"tv/1" + bytes([kind]) + b"".join(length_prefixed(part) for part in places)
    head = b"TV" + bytes([1, 1]) + struct.pack(">IQ", generation, version)
    aad = place + head
    h = hashlib.sha256(aad).digest()
    prk = hkdf_extract(salt, parent)
    key_and_nonce = hkdf_expand(prk, b"tv/1 enc" + h, 44)
    commitment = hkdf_expand(prk, b"tv/1 com" + h, 32)
    sealed = AESGCM(key_and_nonce[:32]).encrypt(key_and_nonce[32:], plaintext, aad)
    return head + salt + commitment + sealed


def pattern(length):
    return bytes((31 * i + 7) % 256 for i in range(length))


def digest_of(name, what):
    return hashlib.sha256(f"sealed_v1/{name}/{what}".encode()).digest()


def vector(name, context, plaintext, generation, version, parent=None, salt=None):
    parent = parent or digest_of(name, "parent")
    salt = salt or digest_of(name, "salt")
    sealed = seal(parent, generation, version, salt, context, plaintext)
    kind, environment, tenant, user, platform = context
    made = {
        "name": name,
        "parent": parent.hex(),
        "parent_generation": generation,
        # As text, because JSON numbers beyond 2^53 do not survive every reader.
        "version": str(version),
        "salt": salt.hex(),
        "kind": kind,
        "environment": environment,
        "tenant": tenant,
        "user": user,
        "platform": platform,
    }
    if len(plaintext) <= LONGEST_WRITTEN_OUT:
        made |= {"plaintext": plaintext.hex(), "sealed": sealed.hex()}
    else:
        assert plaintext == pattern(len(plaintext)), name
        made |= {"pattern_length": len(plaintext), "sealed_sha256": hashlib.sha256(sealed).hexdigest()}
    assert PUBLISHED.get(name, sealed.hex()) == sealed.hex(), f"`{name}` is not what was published"
    return made


VECTORS = [
    vector("published token", (TOKEN, "prod", "acme", "u-42", "google"), b"ya29.example-access-token", 3, 9,
           parent=b"\x11" * 32, salt=ORDERLY_SALT),
    vector("published user key", (USER_KEY, "prod", "acme", "u-42", ""), b"\x11" * 32, 7, 3,
           parent=b"\x22" * 32, salt=ORDERLY_SALT),
    # Every kind, in the shape it is used in.
    vector("user key of the default tenant", (USER_KEY, "dev", "default", "u1", ""), pattern(32), 1, 1),
    vector("token of the default tenant", (TOKEN, "dev", "default", "u1", "gmail"), pattern(64), 1, 1),
    vector("local data key", (LOCAL_DATA_KEY, "dev", "default", "", ""), pattern(32), 1, 1),
    vector("local data key of another tenant", (LOCAL_DATA_KEY, "prod", "acme", "", ""), pattern(32), 2, 7),
    vector("engine registry", (ENGINE_REGISTRY, "prod", "acme", "", ""), pattern(200), 1, 12),
    vector("outbox entry", (OUTBOX_ENTRY, "prod", "acme", "u-42", "slack"), pattern(256), 4, 10),
    # Plaintexts around the edges of a block, and at both ends of what is stored.
    vector("nothing at all", (TOKEN, "prod", "acme", "u-42", "google"), b"", 1, 1),
    vector("one byte", (TOKEN, "prod", "acme", "u-42", "google"), pattern(1), 1, 1),
    vector("one byte short of a block", (TOKEN, "prod", "acme", "u-42", "google"), pattern(15), 1, 1),
    vector("a block", (TOKEN, "prod", "acme", "u-42", "google"), pattern(16), 1, 1),
    vector("a block and a byte", (TOKEN, "prod", "acme", "u-42", "google"), pattern(17), 1, 1),
    vector("2 KiB", (TOKEN, "prod", "acme", "u-42", "google"), pattern(2048), 1, 1),
    vector("64 KiB", (TOKEN, "prod", "acme", "u-42", "google"), pattern(65536), 1, 1),
    # Numbers at their ends; a byte order mistaken anywhere shows.
    vector("generation and version zero", (TOKEN, "prod", "acme", "u-42", "google"), pattern(25), 0, 0),
    vector("generation and version at their largest", (TOKEN, "prod", "acme", "u-42", "google"), pattern(25),
           U32_MAX, U64_MAX),
    vector("generation and version with every byte different", (TOKEN, "prod", "acme", "u-42", "google"), pattern(25),
           0x01020304, 0x05060708090A0B0C),
    # Places at their longest, and with every character the alphabets allow.
    vector("the longest identifiers", (TOKEN, "e" * 31, "t" * 63, "U" * 128, "p" * 63), pattern(40), 5, 6),
    vector("every character of the alphabets",
           (TOKEN, "abcdefghijklm-0123456789", "nopqrstuvwxyz-0123456789",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+|=~-", "0abcxyz_-9"),
           pattern(40), 5, 6),
    # All that differs is where one field ends and the next begins.
    vector("a boundary before", (TOKEN, "prod", "acme", "u-42g", "oogle"), pattern(25), 3, 9),
    vector("a boundary after", (TOKEN, "prod", "acmeu", "-42", "google"), pattern(25), 3, 9),
]

if __name__ == "__main__":
    assert {made["name"] for made in VECTORS} >= PUBLISHED.keys()
    json.dump(VECTORS, sys.stdout, indent=1)
    sys.stdout.write("\n")
