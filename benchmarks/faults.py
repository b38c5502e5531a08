"""Does a study survive any death? A tiny one is run again and again, each time with a fault at a random moment.

    python benchmarks/faults.py --runs 100            # prints a table by kind of fault
    python benchmarks/faults.py --runs 12 --seed 7    # other moments

Each run begins with a study that was never run, meets one fault, and is then finished as docs/running.md says: unlock,
run again. Columns of the table:

    tried         runs with this fault
    met           of these, how often the study was still at work when the fault came
    same bytes    of these tried, how often data, adapter and answers are those of an undisturbed run, byte for byte,
                  and nothing is left to do
    lost batches  answers that were on disk when the fault had passed, and were computed again later
    left          processes that still lived SECONDS_TO_END after their Snakemake had ended

The networks are random, of two layers of width 16, on the CPU; the moments are drawn from the whole length of an
undisturbed run. Exit code 1 where any run did not end in the same bytes, lost a batch or left a process.
"""

from __future__ import annotations

import os
import platform
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

HOUSE = Path(__file__).parent.parent
sys.path[:0] = [str(HOUSE / "scripts"), str(HOUSE)]

from tests.workflow import small_study  # noqa: E402

from slingshot.core.environment import processor_name  # noqa: E402
from slingshot.runtime import cli  # noqa: E402

TARGET = "results/comparison.json"
BYTES = (
    "results/data/*.parquet",
    "results/data/labels.json",
    "results/*/*/predictions.jsonl",
    "results/*/*/adapter/adapter_model.safetensors",
)
SECONDS_TO_END = 30  # a step has 20 s to stop by itself (runtime/processes.py)
SECONDS_OF_A_RUN = 600
FUTURE = 400 * 86_400  # seconds, as after a clock that was set back by 400 days


@dataclass
class Run:
    """A study at work: its folder, its Snakemake, and the draw that chooses victims."""

    folder: Path
    workflow: subprocess.Popen[bytes]
    draw: random.Random
    others: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def signal(self, process: int, number: signal.Signals) -> None:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            return

    def victims(self, kind: str) -> list[int]:
        """Ids of the study's processes of one kind: step, launcher or guard."""
        found = []
        for process, words in processes_in(self.folder).items():
            programs = [Path(word).name for word in words[:2]]
            launches = "launch.py" in programs
            is_guard = launches and "launch.py" in [Path(word).name for word in words_of(parent_of(process))[:2]]
            what = "guard" if is_guard else "launcher" if launches else "step"
            ours = any(word.startswith(str(HOUSE / "scripts")) for word in words[:2])
            found += [process] if ours and what == kind else []
        return found


def kill_workflow(run: Run) -> None:
    run.signal(run.workflow.pid, signal.SIGKILL)


def kill_one(kind: str) -> Callable[[Run], None]:
    def kill(run: Run) -> None:
        if found := run.victims(kind):
            run.signal(run.draw.choice(found), signal.SIGKILL)

    return kill


def send(number: signal.Signals, times: int = 1) -> Callable[[Run], None]:
    def signal_workflow(run: Run) -> None:
        for _ in range(times):
            run.signal(run.workflow.pid, number)
            time.sleep(0.5)

    return signal_workflow


def interrupt_group(run: Run) -> None:
    """As Ctrl-C in a terminal does: every process of the foreground group receives it."""
    try:
        os.killpg(run.workflow.pid, signal.SIGINT)
    except ProcessLookupError:
        return


def cut_power(run: Run) -> None:
    """Everything at once, the workflow first, so that no process can tell another."""
    run.signal(run.workflow.pid, signal.SIGKILL)
    for process in processes_in(run.folder):
        run.signal(process, signal.SIGKILL)


def freeze_step(run: Run) -> None:
    frozen = run.victims("step")
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for process in frozen:
            run.signal(process, number)
        time.sleep(2)


def start_another(run: Run) -> None:
    run.others.append(start(run.folder))


def fill_disk(run: Run) -> None:
    """No file of the running steps may grow beyond 2 KB from now on, which is what a full disk looks like to them."""
    for process in run.victims("step"):
        try:
            resource.prlimit(process, resource.RLIMIT_FSIZE, (2048, 2048))
        except ProcessLookupError:
            continue


def set_clock_back(run: Run) -> None:
    later = time.time() + FUTURE
    for path in (run.folder / "results").rglob("*"):
        try:
            os.utime(path, (later, later), follow_symlinks=False)
        except FileNotFoundError:
            continue


FAULTS: dict[str, Callable[[Run], None]] = {
    "SIGKILL of Snakemake": kill_workflow,
    "SIGKILL of a step": kill_one("step"),
    "SIGKILL of a launcher": kill_one("launcher"),
    "SIGKILL of a guard": kill_one("guard"),
    "SIGKILL of all at once": cut_power,
    "SIGINT": send(signal.SIGINT),
    "SIGINT twice": send(signal.SIGINT, 2),
    "SIGINT to the group": interrupt_group,
    "SIGTERM": send(signal.SIGTERM),
    "SIGHUP": send(signal.SIGHUP),
    "SIGSTOP of steps, SIGCONT": freeze_step,
    "a second Snakemake": start_another,
    "a full disk": fill_disk,
    "time stamps of the future": set_clock_back,
}


def main() -> None:
    arguments = cli.make_parser(__doc__)
    arguments.add_argument("--runs", type=int, default=100, help="faults to inject (100)")
    arguments.add_argument("--seed", type=int, default=1, help="of the kinds and the moments")
    given = arguments.parse_args()
    print(f"{platform.machine()}, {processor_name()}, {os.cpu_count()} processors, seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        count = measure(Path(scratch), given.runs, random.Random(given.seed))
    print(table(count))
    tried = sum(row["tried"] for row in count.values())
    if any(row["same bytes"] != row["tried"] or row["lost batches"] or row["left"] for row in count.values()):
        sys.exit(f"of {tried} runs, not all ended as an undisturbed one")


def measure(scratch: Path, runs: int, draw: random.Random) -> dict[str, Counter[str]]:
    """What became of `runs` runs, by kind of fault; each kind is as frequent as any other."""
    written = scratch / "written"
    write_tiny_study(written)
    whole = small_study.copy(written, scratch / "whole")
    began = time.monotonic()
    finish(whole)
    seconds = time.monotonic() - began
    expected = small_study.digests(whole, *BYTES)
    print(f"undisturbed: {seconds:.0f} s, {len(expected)} files", flush=True)
    kinds = [kind for _ in range(runs // len(FAULTS) + 1) for kind in draw.sample(list(FAULTS), len(FAULTS))][:runs]
    count: dict[str, Counter[str]] = {kind: Counter() for kind in FAULTS if kind in kinds}
    for number, kind in enumerate(kinds, 1):
        moment = draw.uniform(0, seconds)
        folder = small_study.copy(written, scratch / str(number))
        began = time.monotonic()
        row = try_fault(folder, kind, moment, draw, expected)
        count[kind].update(row)
        took = time.monotonic() - began
        print(f"{number}/{runs} {kind} after {moment:.1f} s: {dict(row)}, {took:.0f} s", flush=True)
        if row["same bytes"] and not row["lost batches"] and not row["left"]:
            subprocess.run(["rm", "-rf", str(folder)], check=True)
    return count


def try_fault(folder: Path, kind: str, moment: float, draw: random.Random, expected: dict[str, str]) -> Counter[str]:
    """One run with a fault, and what docs/running.md says to do after it."""
    run = Run(folder, start(folder), draw)
    with suppress(subprocess.TimeoutExpired):
        run.workflow.wait(timeout=moment)
    met = run.workflow.poll() is None
    FAULTS[kind](run)
    for workflow in (run.workflow, *run.others):
        wait(workflow)
    left = processes_left(folder)
    kept = answers_in(folder)
    same = finish(folder) and small_study.digests(folder, *BYTES) == expected and not work_left(folder)
    now = answers_in(folder)
    lost = sum(now.get(answer) != row for answer, row in kept.items())
    return Counter({"tried": 1, "met": int(met), "same bytes": int(same), "lost batches": lost, "left": len(left)})


def write_tiny_study(folder: Path) -> None:
    """A large and a small model of random weights, and no TF-IDF: every step that remembers or resumes is there."""
    small_study.write_study(folder)
    config = small_study.config()
    config["llm"] = {"b": config["llm"]["b"]}
    config["slm"] = {"c": config["slm"]["c"]}
    config["baseline"] = {"tfidf": False}
    config["finetune"] |= {"deterministic": True}
    config["hardware"] |= {"token_budget": 256, "checkpoint_steps": 1, "tensorboard": False}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start Snakemake on the study in a group of its own; what it says goes to a file in the folder."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "SLINGSHOT_LOCKS": str(folder / "locks"),
    }
    command = ["snakemake", "--snakefile", str(HOUSE / "Snakefile"), "--cores", "2", *words]
    with (folder / "said.txt").open("ab") as said:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL, process_group=0
        )


def finish(folder: Path) -> bool:
    """Unlock and run, as a person would after a fault; a second time where the first did not end well."""
    for _ in range(2):
        wait(start(folder, "--unlock"))
        if wait(start(folder, "--", TARGET)) == 0:
            return True
    return False


def wait(workflow: subprocess.Popen[bytes]) -> int:
    """The exit code of a Snakemake; one that hangs is killed, and counts as failed."""
    try:
        return workflow.wait(timeout=SECONDS_OF_A_RUN)
    except subprocess.TimeoutExpired:
        workflow.kill()
        return workflow.wait()


def work_left(folder: Path) -> bool:
    """Whether a dry run finds anything to do in a study that was finished."""
    (folder / "said.txt").unlink()
    code = wait(start(folder, "-n", "--", TARGET))
    return code != 0 or "Nothing to be done" not in (folder / "said.txt").read_text(encoding="utf-8")


def answers_in(folder: Path) -> dict[tuple[str, str], int]:
    """Each remembered answer of the study, and the row that it was written to: a new row says that it came again."""
    found = {}
    for path in sorted((folder / "results" / "cache").glob("*.sqlite")):
        connection = sqlite3.connect(path)
        try:
            found |= {(path.name, key): row for key, row in connection.execute("SELECT key, rowid FROM answers")}
        except sqlite3.DatabaseError:
            continue  # killed before it was a database
        finally:
            connection.close()
    return found


def processes_left(folder: Path) -> list[int]:
    """Processes that still live in the study's folder once they had their time to end; they are then killed."""
    deadline = time.monotonic() + SECONDS_TO_END
    while (left := processes_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process, words in left.items():
        print(f"left: {process} {' '.join(words)[:200]}", flush=True)
        os.kill(process, signal.SIGKILL)
    return list(left)


def processes_in(folder: Path) -> dict[int, list[str]]:
    """Processes whose working folder is the study's, by id, with their command lines; zombies have none."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cwd").readlink() == folder and (words := words_of(int(place.name))):
                found[int(place.name)] = words
        except OSError:
            continue
    return found


def words_of(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def parent_of(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def table(count: dict[str, Counter[str]]) -> str:
    """A Markdown table, a row per kind of fault, and their sum."""
    columns = ("tried", "met", "same bytes", "lost batches", "left")
    rows = {**count, "all": sum(count.values(), Counter())}
    head = f"| fault | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}"
    lines = [f"| {kind} | {' | '.join(str(row[column]) for column in columns)} |" for kind, row in rows.items()]
    return "\n".join([head, *lines])


if __name__ == "__main__":
    cli.run(main)
