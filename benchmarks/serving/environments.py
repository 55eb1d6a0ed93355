"""The peers' virtual environments: one each under build/bench/, made from PyPI when first needed.

Where a peer serves with torch, torch is installed first, as the CPU build of the release that this project pins, so
that no peer's resolver fetches a CUDA build and all serve with the same kernels. Peers are pinned, their dependencies
are not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build" / "bench"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH = "torch==2.13.0+cpu" if sys.platform == "linux" else "torch==2.13.0"
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "mosec": ("mosec==0.9.8", "msgspec==0.22.0"),
    "litserve": ("litserve==0.2.19",),
    # 1.4.40 asks for certifi>=2026.10.19; where this was written, pip's newest certifi was 2026.10.18.
    "bentoml": ("bentoml==1.4.39",),
    # Its worker processes ask for a loop that newer releases of uvloop no longer make on the side.
    "mlserver": ("mlserver==1.7.1", "uvloop<0.22"),
    "ray": ("ray[serve]==2.60.0",),
    # Wheels for Linux on x86-64 with glibc 2.35 or later only; Triton's binary in them needs no GPU.
    "pytriton": ("nvidia-pytriton==0.7.0",),
    "fastapi": ("fastapi==0.165.0", "uvicorn[standard]==0.54.0"),
    "statsforecast": ("statsforecast==2.1.1",),
    "digits": ("scikit-learn==1.9.1",),
}
WITHOUT_TORCH = {"statsforecast", "digits"}


def python(name: str) -> Path:
    """The interpreter of environment `name`, which is made where it is absent or was made for other requirements."""
    folder = BUILD / "envs" / name
    interpreter, stamp = folder / "bin" / "python", folder / "requirements.json"
    torch = () if name in WITHOUT_TORCH else (TORCH,)
    requirements = json.dumps([*torch, *REQUIREMENTS[name], f"python {sys.version_info[0]}.{sys.version_info[1]}"])
    if stamp.exists() and stamp.read_text() == requirements and interpreter.exists():
        return interpreter
    print(f"making the environment of {name}: {' '.join(REQUIREMENTS[name])} (a few minutes)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    if torch:
        _install_torch(interpreter)
    _pip(interpreter, *torch, "numpy", *REQUIREMENTS[name])
    stamp.write_text(requirements)
    return interpreter


def versions(interpreter: Path | str, packages: Sequence[str]) -> str:
    """`name version` of those `packages` that are installed for `interpreter`, and Python's own version."""
    code = (
        "import importlib.metadata as m, json, platform, sys\n"
        "installed = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        "listed = [f'{p} {installed[p]}' for p in sys.argv[1:] if p in installed]\n"
        "print(json.dumps([*listed, 'python ' + platform.python_version()]))"
    )
    command = [str(interpreter), "-c", code, *packages]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return ", ".join(json.loads(output))


def _install_torch(interpreter: Path) -> None:
    """From torch's own index, else from the indexes that pip is configured for."""
    try:
        _pip(interpreter, "--no-deps", "--retries", "1", "--timeout", "15", "--index-url", TORCH_INDEX, TORCH)
    except subprocess.CalledProcessError:
        _pip(interpreter, "--no-deps", TORCH)


def _pip(interpreter: Path, *arguments: str) -> None:
    options = ["--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([str(interpreter), "-m", "pip", *options, *arguments], check=True)


if __name__ == "__main__":
    for environment in sys.argv[1:] or REQUIREMENTS:
        print(environment, versions(python(environment), [environment, "torch", "numpy"]), flush=True)
