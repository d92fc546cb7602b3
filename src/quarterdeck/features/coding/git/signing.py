"""The server's SSH key, and signatures in the format of OpenSSH (PROTOCOL.sshsig)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
import struct
import uuid
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from quarterdeck.core.errors import InvalidInput

NAMESPACE = b"git"
_MAGIC = b"SSHSIG"
_TYPE = b"ssh-ed25519"
_HASH = b"sha512"
_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_END = "-----END SSH SIGNATURE-----"
_SIGNATURE_MAX = 4096


class SigningKey:
    """An Ed25519 key that signs commits; its signatures are deterministic."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """The key in the OpenSSH file `path`; made there, for the owner alone, if missing.

        Raises InvalidInput when the file is open to others or holds no such key.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        return cls(_load(path))

    @property
    def public(self) -> str:
        """The public key as one `ssh-ed25519 …` line, as forges and `allowed_signers` take it."""
        return f"ssh-ed25519 {base64.b64encode(_key_blob(self._private.public_key())).decode()}"

    def sign(self, message: bytes) -> str:
        """The armored signature of `message` in the namespace `git`."""
        raw = self._private.sign(_signed_data(message))
        blob = _MAGIC + struct.pack(">I", 1) + _string(_key_blob(self._private.public_key()))
        blob += _string(NAMESPACE) + _string(b"") + _string(_HASH)
        blob += _string(_string(_TYPE) + _string(raw))
        text = base64.b64encode(blob).decode()
        lines = [text[start : start + 70] for start in range(0, len(text), 70)]
        return "\n".join([_BEGIN, *lines, _END, ""])


def verify(message: bytes, armor: str, public: str) -> bool:
    """Whether `armor` is a signature of `message` by the `ssh-ed25519 …` key `public`."""
    key_blob = _decode(public.split()[1] if len(public.split()) > 1 else "")
    lines = armor.strip().split("\n")
    if len(armor) > _SIGNATURE_MAX or lines[0] != _BEGIN or lines[-1] != _END:
        return False
    blob = _decode("".join(lines[1:-1]))
    head = _MAGIC + struct.pack(">I", 1) + _string(key_blob)
    head += _string(NAMESPACE) + _string(b"") + _string(_HASH)
    # Everything but the 64 signature bytes is known beforehand, so nothing needs to be parsed.
    prefix = head + struct.pack(">I", 83) + _string(_TYPE) + struct.pack(">I", 64)
    if len(blob) != len(prefix) + 64 or not blob.startswith(prefix):
        return False
    try:
        public_key = Ed25519PublicKey.from_public_bytes(key_blob[-32:])
        public_key.verify(blob[-64:], _signed_data(message))
    except (InvalidSignature, ValueError):
        return False
    return True


def verify_commit(commit: bytes, public: str) -> bool:
    """Whether the raw commit object `commit` carries a signature of itself by `public`."""
    headers, separator, body = commit.partition(b"\n\n")
    if not separator:
        return False
    kept: list[bytes] = []
    armor: list[bytes] = []
    inside = False
    for line in headers.split(b"\n"):
        inside = line.startswith(b"gpgsig ") or (inside and line.startswith(b" "))
        (armor if inside else kept).append(line)
    armor = [line.removeprefix(b"gpgsig ").removeprefix(b" ") for line in armor]
    message = b"\n".join(kept) + separator + body
    return verify(message, b"\n".join(armor).decode(errors="replace"), public)


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _key_blob(public: Ed25519PublicKey) -> bytes:
    return _string(_TYPE) + _string(public.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _signed_data(message: bytes) -> bytes:
    digest = hashlib.sha512(message).digest()
    return _MAGIC + _string(NAMESPACE) + _string(b"") + _string(_HASH) + _string(digest)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _create(path: Path) -> None:
    """Write a new key beside `path` and link it there, so that two starts agree on one key."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    )
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)
    except FileExistsError:
        pass  # another start made it first; its key counts
    finally:
        fresh.unlink()


def _load(path: Path) -> Ed25519PrivateKey:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InvalidInput(
            "The signing key can be read by others.", where=str(path), hint="chmod 600 it."
        )
    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput(
            f"The signing key cannot be read: {error}.",
            where=str(path),
            hint="Put an unencrypted OpenSSH Ed25519 key there, or remove the file for a new one.",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput("The signing key is not Ed25519.", where=str(path))
    return key
