"""The sub-commands of `ritmo model` as pydantic models; what they need is imported only when they run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg, CliSubCommand

from service.authoring.signing import ModelSign, ModelVerify
from service.contract.errors import BrokenModel
from service.runtime.subcommand import run_subcommand


class ModelCheck(BaseModel):
    """Try every rule of the contract on an exported model; the exit status is 1 where one is broken."""

    folder: CliPositionalArg[Path] = Field(description="models/<name>/<version>, with model.pt and manifest.json")

    def run(self) -> int:
        """Print how the model stands to each rule; the exit status."""
        from service.authoring.check import check

        lines, sound = check(self.folder)
        print("\n".join(lines))
        print(f"{self.folder}: {'keeps the contract' if sound else 'breaks the contract'}")
        return 0 if sound else 1


class ModelNew(BaseModel):
    """Write a small program that trains, exports and serves a recurrent network as it stands, to begin with."""

    name: CliPositionalArg[str] = Field(description="of the model: lower-case letters, digits and hyphens")
    kind: Literal["forecast", "digits"] = Field(default="forecast", description="what it does: forecast or digits")
    folder: Path = Field(default=Path(), description="where its folder is made")

    def run(self) -> int:
        """Write the program and say what comes next; the exit status."""
        from service.authoring.starter import write_starter

        path = write_starter(self.name, self.kind, self.folder)
        print(f"written: {path}\nnext: python {path}    (trains, and exports to models/{self.name}/1)")
        return 0


class ModelSummary(BaseModel):
    """Print the layers of exported models, and how many numbers each holds; run by the training program."""

    models: CliPositionalArg[list[str]] = Field(description="name or name@version")


class ModelExportOnnx(BaseModel):
    """Write a model as one ONNX file, compared with the served one; run by the training program."""

    model: CliPositionalArg[str] = Field(description="name or name@version")


class ModelCommand(BaseModel):
    """Models of your own: begin one, check one, look at one, export one, sign one."""

    check: CliSubCommand[ModelCheck] = Field(description="try every rule of the contract on an exported model")
    new: CliSubCommand[ModelNew] = Field(description="write a program that trains, exports and serves a network")
    # Both are passed on as they are typed, before any option is read: see `service.__main__`.
    summary: CliSubCommand[ModelSummary] = Field(description="print the layers of exported models")
    export_onnx: CliSubCommand[ModelExportOnnx] = Field(
        alias="export-onnx", description="write a model as an ONNX file"
    )
    sign: CliSubCommand[ModelSign] = Field(description="sign a version")
    verify: CliSubCommand[ModelVerify] = Field(description="check the signature and the digests of a version")

    def run(self) -> int:
        """Run the command that was chosen; the exit status is 2 where it cannot be done, or none was chosen."""
        try:
            return run_subcommand(self, "model")
        except BrokenModel as error:
            print(error.detail, file=sys.stderr)
        except FileExistsError as error:
            print(f"{error.filename} exists; nothing was written", file=sys.stderr)
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr)
        return 2
