"""The versions and the processor that a result was made with."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "flash-attn-4",
    "tokenizers",
    "numpy",
    "pandas",
    "scikit-learn",
    "openai",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on; packages that are absent are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def slingshot_version() -> str:
    """Slingshot's version, with the commit where it runs from a git checkout: `0.1.0, commit 1a2b3c4d5e6f`."""
    house = Path(__file__).parents[3]
    project = house / "pyproject.toml"
    written = project.read_text(encoding="utf-8") if project.exists() else ""  # a copy of the workflow may lack it
    found = re.search(r'^version = "([^"]+)"', written, re.MULTILINE)
    version = found[1] if found else "unknown"
    git = ["git", "-C", str(house), "rev-parse", "--short=12", "HEAD"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}, commit {commit}"


def processor_name() -> str:
    """The processor's name where the system tells it, else its architecture."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def device_name(device: str) -> str:
    """The name of the GPU that `cuda` or `cuda:N` means, else the processor's."""
    if not device.startswith("cuda"):
        return processor_name()
    import torch

    return torch.cuda.get_device_name(device)


def processor_flags() -> frozenset[str]:
    """The instruction sets that Linux names for this processor (avx2, avx512_bf16, Arm: bf16); empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.partition(":")[0].strip() in ("flags", "Features")), "")
    return frozenset(flags.partition(":")[2].split())
