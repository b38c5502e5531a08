"""Files that a snakemake command names and Snakemake reads by its own loader, which can run the Python in them.

Its loader evaluates a YAML file that says `__use_yte__: true`, before any rule file is read, and takes the last of two
equal keys silently. Each is therefore read by our own loader first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from slingshot.core.yaml_files import read_yaml, refuse_templates

PROFILES = ("--profile", "--workflow-profile")


def check_files(words: Sequence[str]) -> None:
    """Read each config file and profile of a snakemake command as Snakemake would find it, and refuse what runs code.

    Raises:
        StudyError: one is no plain YAML, names a key twice, or asks for code to be run.
    """
    for path in files_named(words):
        refuse_templates(read_yaml(path), path)


def files_named(words: Sequence[str]) -> Iterator[Path]:
    """Config files and profiles of a command, those included that Snakemake takes from this folder by itself."""
    end = list(words).index("--") if "--" in words else len(words)
    profiles = ["default"]
    option = ""
    for word in words[:end]:
        if word.startswith("-"):
            option, _, value = word.partition("=")
            given = [value] if value else []
        else:
            given = [word]
        if option.startswith("--configf"):
            yield from map(Path, given)
        elif any(name.startswith(option) for name in PROFILES) and len(option) > 5:
            profiles += given
    for profile in profiles:
        for folder in (Path(profile), Path("profiles", profile)):
            if folder.is_dir():
                yield from sorted([*folder.glob("config*.yaml"), *folder.glob("config*.yml")])
