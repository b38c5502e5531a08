"""What every step program's command line has in common."""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from slingshot.core.disk import is_full_disk, no_room
from slingshot.core.environment import versions
from slingshot.core.errors import StudyError
from slingshot.core.terminal import show

log = logging.getLogger(__name__)


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows a program's docstring and its defaults."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def add_spec(arguments: argparse.ArgumentParser, model: str) -> None:
    """Add --spec: the step's part of the study, as JSON or as @FILE."""
    arguments.add_argument(
        "--spec",
        required=True,
        type=_text_or_file,
        help=f"{model} as JSON, or @FILE; `python scripts/spec.py` prints it for any step of a study",
    )


def add_hardware(arguments: argparse.ArgumentParser) -> None:
    """Add what a model step may take of the machine; results do not depend on it."""
    arguments.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments.add_argument(
        "--token-budget", type=number_or("auto"), help="tokens per micro-batch; auto: from free memory"
    )
    arguments.add_argument("--memory-gb", type=_gigabytes_or_all, help="use no more of the device's memory, or all")
    arguments.add_argument("--attempt", type=int, default=1, help="from the second on, the budget is halved each time")


def add_answering_files(parser: argparse.ArgumentParser) -> None:
    """Add the files that a step reads and writes which answers a split by prompts."""
    parser.add_argument("--labels", required=True, type=Path, help="the study's label set")
    parser.add_argument("--choice", type=Path, help="choose_prompt's file, where the arm's prompt is chosen")
    parser.add_argument("--train", required=True, type=Path, help="where few-shot examples come from")
    parser.add_argument("--split", required=True, type=Path, help="the samples to answer")
    parser.add_argument("--predictions", required=True, type=Path)
    parser.add_argument("--record", required=True, type=Path)
    parser.add_argument("--cache", required=True, type=Path, help="SQLite file of the model's answers")


def number_or(word: str) -> Callable[[str], int | None]:
    """A type of argument: a positive whole number, or `word`, which gives None."""

    def parse(value: str) -> int | None:
        if value == word:
            return None
        if not value.isdigit() or not int(value):
            raise argparse.ArgumentTypeError(f"must be a positive number or {word}, not {value}")
        return int(value)

    return parse


def parse_share(value: str) -> tuple[int, int]:
    """Read K/N, with 1 <= K <= N."""
    number, slash, count = value.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"must be K/N with K from 1 to N, not {value}")
    return int(number), int(count)


def run(main: Callable[[], None], is_launcher: bool = False) -> None:
    """Run a program: a StudyError becomes one message and exit code 1; any other exception its traceback and 70.

    A step (a program with --spec) also logs its spec, the packages that it runs on, and what it took.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "urllib3", "filelock", "fsspec", "datasets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    is_step = not is_launcher and "--spec" in sys.argv[:-1]
    start = time.monotonic()
    if is_step:
        log.info("%s: %s", Path(sys.argv[0]).name, ", ".join(f"{name} {one}" for name, one in versions().items()))
        log.info("spec: %s", sys.argv[sys.argv.index("--spec") + 1])
    try:
        main()
        if is_step:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            log.info("%.1f s, %.1f GB of main memory at most", time.monotonic() - start, peak / 1e9)
    except StudyError as error:
        show(f"error: {error}")
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if words := explain(error):
            log.debug("%s", words, exc_info=error)
            show(f"error: {words}")
            sys.exit(f"error: {words}")
        log.exception("an error that no one foresaw: please report it with this log")
        show(f"error: {type(error).__name__}: {str(error)[:300]} (the traceback is in the log)")
        sys.exit(70)


def explain(error: Exception) -> str:
    """One sentence on an error of files and disks, whichever library met it; empty for any other."""
    if is_full_disk(error):
        named = getattr(error, "filename", None)
        if isinstance(named, str):
            return no_room(Path(named), error)
        return no_room(Path("results", "file"), error, name="a file of results/")
    if isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError | IsADirectoryError):
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror or error}; correct its path or its permissions"
    return ""


def log_also_into(path: Path) -> None:
    """Start a step's log file again, with what this process logs, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    handler = logging.FileHandler(path, mode="a", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger().addHandler(handler)


def _text_or_file(value: str) -> str:
    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {value[1:]}: {error.strerror}") from None


def _gigabytes_or_all(value: str) -> float | None:
    if value == "all":
        return None
    try:
        gigabytes = float(value)
    except ValueError:
        gigabytes = 0
    if gigabytes <= 0:
        raise argparse.ArgumentTypeError(f"must be a positive number of gigabytes or all, not {value}")
    return gigabytes
