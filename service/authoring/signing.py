"""`ritmo model sign` and `ritmo model verify`: with RITMO_TRUSTED_KEYS, only signed versions are loaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from service.contract.errors import BrokenModel
from service.contract.files import MAX_MANIFEST_BYTES, read_file
from service.contract.manifest import MANIFEST_FILE, verify_files
from service.contract.model_signatures import TrustedKeys, new_private_key, public_line, sign


class ModelSign(BaseModel):
    """Sign a version, and print the line of the public key for RITMO_TRUSTED_KEYS.

    The key is made where there is none: keep it where no server can read it.
    """

    folder: CliPositionalArg[Path] = Field(description="folder of the version, such as models/forecaster/7")
    key: Path = Field(description="file of the private key (PEM)")

    def run(self) -> int:
        """See the class."""
        verify_files(self.folder)
        if not self.key.exists():
            content = new_private_key()  # raises where that cannot be, before there is a file
            descriptor = os.open(self.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            print(f"made a new key: {self.key}", file=sys.stderr)
        private_key = self.key.read_bytes()
        try:
            line = public_line(private_key, self.key.name)
        except ValueError as error:
            raise ValueError(f"{self.key}: {error}") from error
        name = sign(self.folder, read_file(self.folder / MANIFEST_FILE, MAX_MANIFEST_BYTES), private_key)
        print(f"{self.folder} is signed with the key {name}", file=sys.stderr)
        print(line)
        return 0


class ModelVerify(BaseModel):
    """Check a version: a trusted signature, and the digests of its files. Nothing of it is run."""

    folder: CliPositionalArg[Path] = Field(description="folder of the version, such as models/forecaster/7")
    trusted: Path | None = Field(default=None, description="file of trusted keys; unset: RITMO_TRUSTED_KEYS")

    def run(self) -> int:
        """See the class; the exit status is 1 where the version is not to be trusted."""
        path = self.trusted or os.environ.get("RITMO_TRUSTED_KEYS")
        if not path:
            raise ValueError("name the trusted keys: --trusted keys, or RITMO_TRUSTED_KEYS")
        keys = TrustedKeys.read(Path(path))
        try:
            name = keys.check(self.folder, read_file(self.folder / MANIFEST_FILE, MAX_MANIFEST_BYTES))
            verify_files(self.folder)
        except BrokenModel as error:
            print(error.detail)
            return 1
        print(f"{self.folder} is as the key {name} signed it")
        return 0
