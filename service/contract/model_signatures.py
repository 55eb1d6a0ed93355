"""Signatures of model versions: whose work a checkpoint is, checked before a byte of it is read as anything else.

A digest beside a file shows that the file is whole, not where it comes from. `manifest.sig` holds an Ed25519 signature
(RFC 8032) of the bytes of `manifest.json`, which names the digests of the model and of its golden sample: so one
signature covers all that is run. Where trusted keys are given, a version without a signature of one of them is broken.

The library `cryptography` is needed where models are signed or checked, and nowhere else (the extra `signing`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from service.contract.errors import BrokenModel
from service.contract.files import read_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE_FILE = "manifest.sig"
ALGORITHM = "ed25519"
KEY_BYTES, SIGNATURE_BYTES = 32, 64
MAX_SIGNATURE_BYTES = 64 << 10
_CONTEXT = b"ritmo model manifest 1\n"  # a signature made for anything else is none of a model
_MISSING = "the library cryptography is not installed: pip install 'ritmo[signing]'"


class TrustedKeys:
    """Public keys by their ids; a version is good where one of them signed its manifest."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """`keys`: 32 bytes each. Raises `ValueError` where there is none, or the library is missing."""
        if not keys:
            raise ValueError("there is no trusted key, so no model could be loaded")
        _require_library()
        self._keys = dict(keys)

    @classmethod
    def read(cls, path: Path) -> TrustedKeys:
        """The keys in a file, one a line: `ed25519`, the key in base64, a comment. Raises `ValueError`."""
        try:
            lines = read_file(path, MAX_SIGNATURE_BYTES).decode().splitlines()
        except (BrokenModel, UnicodeDecodeError) as error:
            raise ValueError(f"the trusted keys {path} cannot be read: {error}") from error
        keys: dict[str, bytes] = {}
        for number, line in enumerate(lines, 1):
            fields = line.partition("#")[0].split()
            if not fields:
                continue
            key = _decoded(fields[1], KEY_BYTES) if fields[0] == ALGORITHM and len(fields) > 1 else None
            if key is None:
                raise ValueError(f"{path}, line {number}: a line is '{ALGORITHM}', a key in base64, and a comment")
            keys[key_id(key)] = key
        return cls(keys)

    def check(self, folder: Path, manifest: bytes) -> str:
        """The id of the key that signed `manifest`, the bytes of that file in `folder`; raises `BrokenModel`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        path = folder / SIGNATURE_FILE
        if not path.exists():
            raise BrokenModel(f"{folder} is not signed, and only signed models are trusted here")
        for line in read_file(path, MAX_SIGNATURE_BYTES).decode("latin-1").splitlines():
            fields = line.split()
            if len(fields) != 3 or fields[0] != ALGORITHM or fields[1] not in self._keys:
                continue
            signature = _decoded(fields[2], SIGNATURE_BYTES)
            try:
                Ed25519PublicKey.from_public_bytes(self._keys[fields[1]]).verify(signature or b"", _CONTEXT + manifest)
            except InvalidSignature:
                raise BrokenModel(f"{path} is no signature of the manifest beside it") from None
            return fields[1]
        raise BrokenModel(f"{path} has no signature of a key that is trusted here")


def key_id(public_key: bytes) -> str:
    """A short name of a public key."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def new_private_key() -> bytes:
    """A new private key as PEM; raises `ValueError` where the library is missing."""
    _require_library()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem: bytes = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def public_line(private_key: bytes, comment: str = "") -> str:
    """The line of a file of trusted keys for a private key as PEM; raises `ValueError`."""
    public = _public_bytes(_private(private_key))
    return f"{ALGORITHM} {base64.b64encode(public).decode()} {comment}".rstrip()


def sign(folder: Path, manifest: bytes, private_key: bytes) -> str:
    """Sign `manifest`, the bytes of that file in `folder`, beside it; other keys' signatures stay. The key's id.

    Raises `ValueError` for a key that cannot be used, `OSError` where the file cannot be written.
    """
    private = _private(private_key)
    name = key_id(_public_bytes(private))
    path = folder / SIGNATURE_FILE
    signature = base64.b64encode(private.sign(_CONTEXT + manifest)).decode()
    others = path.read_text(encoding="ascii", errors="replace").splitlines() if path.exists() else []
    lines = [line for line in others if line.split()[1:2] != [name]]
    temporary = folder / f".{SIGNATURE_FILE}.{os.getpid()}"
    temporary.write_text("\n".join([*lines, f"{ALGORITHM} {name} {signature}"]) + "\n", encoding="ascii")
    temporary.replace(path)
    return name


def _require_library() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise ValueError(_MISSING) from error


def _private(pem: bytes) -> Ed25519PrivateKey:
    _require_library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise ValueError("this is no private key as PEM without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("this is no private key of Ed25519")
    return key


def _public_bytes(private: Ed25519PrivateKey) -> bytes:
    public: bytes = private.public_key().public_bytes_raw()
    return public


def _decoded(text: str, size: int) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) == size else None
