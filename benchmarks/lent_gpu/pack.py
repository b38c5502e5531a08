"""Wheels for a GPU machine that reaches no package registry, as files of a size that can be carried there.

    python benchmarks/lent_gpu/pack.py --out .gpu/parts --sets ours flash models          # our pinned releases
    python benchmarks/lent_gpu/pack.py --out .gpu/parts --sets machine models vllm unsloth

Each set is a list of pinned releases: `ours` is envs/requirements.txt with the torch and triton that PyPI has for
CUDA; `machine` the same without what a machine with torch and transformers has already. CUDA's own libraries are left
out, as such a machine has them. `unpack.sh` makes the environments. README.md says what it takes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE.parents[1] / "envs/requirements.txt"
SETS = ("ours", "machine", "flash", "models", "vllm", "unsloth")

PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (39, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)]
CUDA_TORCH = ["torch==2.13.0", "triton==3.7.1"]
IMAGE = {  # of the lent machine, in releases that fit each other
    *("accelerate", "huggingface-hub", "numpy", "safetensors", "scikit-learn", "scipy", "tokenizers", "torch"),
    *("torchvision", "transformers", "triton"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the parts; what lies in it goes")
    parser.add_argument("--sets", nargs="+", choices=SETS, required=True)
    parser.add_argument("--wheels", type=Path, default=Path("/tmp/lent-gpu-wheels"), help="where wheels are kept")
    parser.add_argument("--python", default="3.12", help="of the GPU machine")
    parser.add_argument("--part-mb", type=int, default=58, help="size of a part")
    given = parser.parse_args()
    folders = []
    for name in given.sets:
        folder = given.wheels / name
        folder.mkdir(parents=True, exist_ok=True)
        releases = releases_of(name)
        for release in releases:
            download(release, folder, given.python)
        remove_others(folder, releases)
        folders.append(name)
    split(given.wheels, folders, given.out, given.part_mb * 1_000_000)
    parts = sorted(given.out.iterdir())
    print(f"{len(parts)} parts, {sum(part.stat().st_size for part in parts) / 1e6:,.0f} MB in {given.out}")


def releases_of(name: str) -> list[str]:
    """The pinned releases of a set."""
    if name not in ("ours", "machine"):
        return (HERE / f"{name}.txt").read_text(encoding="utf-8").split()
    found = [
        match[0]
        for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()
        if (match := re.match(r"[A-Za-z0-9._-]+==[^\s;\\]+", line))
    ]
    if name == "machine":
        return [release for release in found if release.split("==")[0].lower() not in IMAGE]
    return [release for release in found if not release.startswith(("torch==", "triton=="))] + CUDA_TORCH


def download(release: str, folder: Path, python: str) -> None:
    """Fetch a release's wheel, or build it from its source where it is of Python alone."""
    if release_key(release) in map(wheel_key, folder.glob("*.whl")):
        return
    command = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--dest", str(folder)]
    command += ["--index-url", "https://pypi.org/simple", "--python-version", python, "--only-binary=:all:"]
    command += [word for platform in (*PLATFORMS, "manylinux2014_x86_64") for word in ("--platform", platform)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    # A machine's own constraints are of another torch.
    clean |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if subprocess.run([*command, release], env=clean).returncode == 0:
        return
    with tempfile.TemporaryDirectory() as scratch:
        wheel = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--wheel-dir", scratch, release]
        subprocess.run(wheel, check=True)
        (built,) = Path(scratch).glob("*-none-any.whl")
        (folder / built.name).write_bytes(built.read_bytes())


def remove_others(folder: Path, releases: list[str]) -> None:
    """Remove wheels of releases that the list no longer names: two of one project would be unpacked into one place."""
    wanted = set(map(release_key, releases))
    for path in folder.glob("*.whl"):
        if wheel_key(path) not in wanted:
            path.unlink()


def release_key(release: str) -> str:
    """`project==version`, written as `wheel_key` writes a wheel's."""
    return re.sub(r"[-_.]+", "-", release.replace("==", "-")).lower()


def wheel_key(wheel: Path) -> str:
    """The project and version that a wheel's name begins with."""
    return release_key("-".join(wheel.name.split("-")[:2]))


def split(wheels: Path, names: list[str], out: Path, size: int) -> None:
    """One tar of the sets' folders, in parts named so that `cat` puts them together."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    tar = subprocess.Popen(["tar", "cf", "-", *names], cwd=wheels, stdout=subprocess.PIPE)
    subprocess.run(["split", "-b", str(size), "-a", "2", "-", str(out / "part.")], stdin=tar.stdout, check=True)
    if tar.wait():
        sys.exit("tar failed: the parts are not whole")


if __name__ == "__main__":
    main()
