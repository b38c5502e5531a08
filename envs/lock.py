"""Pin what pip resolves for requirements.in and requirements-dev.in, with all that they need, into the .txt files."""

import json
import subprocess
import sys
from pathlib import Path

ENVS = Path(__file__).parent


def resolved(*arguments: str) -> dict[str, str]:
    """Package to version, as pip would install them into an empty environment."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    report = json.loads(subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout)
    packages = (package["metadata"] for package in report["install"])
    return {package["name"].lower().replace("_", "-"): package["version"].partition("+")[0] for package in packages}


def pin(name: str, packages: dict[str, str]) -> None:
    lines = [
        f"# Made by `make lock` from {name}.in.",
        *sorted(f"{package}=={version}" for package, version in packages.items()),
    ]
    (ENVS / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def pin_for_conda(packages: dict[str, str]) -> None:
    """The same environment for conda. Snakemake copies this file, so it can't refer to requirements.txt."""
    pins = "".join(f"      - {package}=={version}\n" for package, version in sorted(packages.items()))
    head = "# Made by `make lock`. `conda env create -f envs/environment.yaml`, or snakemake --sdm conda.\n"
    body = "name: slingshot\nchannels: [conda-forge]\ndependencies:\n  - python=3.12\n  - pip\n  - pip:\n"
    (ENVS / "environment.yaml").write_text(head + body + pins, encoding="utf-8")


def main() -> None:
    study = resolved("-r", str(ENVS / "requirements.in"))
    # torch brings its CUDA libraries itself, where it has any
    study = {package: version for package, version in study.items() if not package.startswith(("nvidia-c", "nvidia-n"))}
    pin("requirements", study)
    pin_for_conda(study)
    both = resolved(
        "-c",
        str(ENVS / "requirements.txt"),
        "-r",
        str(ENVS / "requirements.txt"),
        "-r",
        str(ENVS / "requirements-dev.in"),
    )
    pin("requirements-dev", {package: version for package, version in both.items() if package not in study})


if __name__ == "__main__":
    main()
