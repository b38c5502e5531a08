"""The words of a snakemake command: put so that an option with many values leaves the targets alone, and read."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Options of Snakemake that take NAME=VALUE as often as it is there, and would take the targets that follow, too.
TAKES_PAIRS = (
    "--resources",
    "--res",
    "--config",
    "-C",
    "--set-threads",
    "--set-resources",
    "--set-scatter",
    "--set-resource-scopes",
    "--default-resources",
    "--default-res",
    "--groups",
    "--group-components",
)

PAIR = re.compile(r"[\w.:-]+=")


def with_targets_apart(words: Sequence[str]) -> list[str]:
    """The same command with `--` before the first word that follows NAME=VALUE words and is none.

    Where options follow such words, they would count as targets after `--`; then the words go to the front instead.
    Words that a `--` already keeps apart are not looked at.

    >>> with_targets_apart(["--cores", "1", "--resources", "gpu=1", "results/report.html"])
    ['--cores', '1', '--resources', 'gpu=1', '--', 'results/report.html']
    >>> with_targets_apart(["--resources", "gpu=1", "results/report.html", "-n"])
    ['results/report.html', '--resources', 'gpu=1', '-n']
    """
    end = words.index("--") if "--" in words else len(words)
    kept: list[str] = []
    swallowed: list[str] = []
    takes_pairs = False
    for word in words[:end]:
        if word.startswith("-"):
            takes_pairs = word.partition("=")[0] in TAKES_PAIRS
            kept.append(word)
        elif takes_pairs and not PAIR.match(word):
            swallowed.append(word)
        else:
            kept.append(word)
    if not swallowed:
        return list(words)
    if end < len(words):
        return [*kept, "--", *swallowed, *words[end + 1 :]]
    if list(words[-len(swallowed) :]) == swallowed:
        return [*kept, "--", *swallowed]
    return [*swallowed, *kept]


DRY_RUN = re.compile(r"--dry-?run|-[a-zA-Z]*n[a-zA-Z]*")


def is_dry_run(words: Sequence[str]) -> bool:
    """Whether a command asks for a dry run. Snakemake itself says so only after it has read the rules.

    >>> is_dry_run(["-n", "results/report.html"]), is_dry_run(["-np"]), is_dry_run(["--cores", "1", "--", "-n"])
    (True, True, False)
    """
    options = words[: words.index("--")] if "--" in words else words
    return any(DRY_RUN.fullmatch(word) for word in options)
