"""Every command that the README gives works as written; where the true run needs a GPU, its dry run does."""

import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from slingshot.runtime.command_words import is_dry_run, with_targets_apart
from tests.workflow import small_study

HOUSE = Path(__file__).parents[2]
BLOCKS = re.findall(r"```bash\n(.*?)```", (HOUSE / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
COMMANDS = [line.partition(" #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
ROOT_COMMANDS = [line for line in COMMANDS if line.startswith("snakemake") and "studies/mine" not in line]


@pytest.fixture(scope="module", autouse=True)
def commands(tmp_path_factory):
    """The command as `make env` installs it, without touching the environment that runs the tests."""
    place = tmp_path_factory.mktemp("bin")
    subprocess.run([sys.executable, HOUSE / "scripts" / "command.py", "--install", place], check=True)
    run.place = place


def run(command, folder=HOUSE):
    """Run in a checkout's root, with this environment's programs first on the path."""
    environment = {
        "PATH": f"{run.place}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(Path.home()),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(folder / "hub"),
    }
    return subprocess.run(
        command, cwd=folder, env=environment, shell=True, capture_output=True, text=True, timeout=120, check=False
    )


def jobs(output):
    """Rule to number of jobs, from the table of a dry run."""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", output, flags=re.MULTILINE)}


def snakemake(*words):
    return next(command for command in COMMANDS if shlex.split(command) == ["snakemake", *words])


def dry(command):
    """The command's dry run."""
    return command.replace("snakemake", "snakemake --dry-run --forceall", 1)


@cache
def dry_jobs(command):
    """Rule to number of jobs, as the command's dry run lists them."""
    done = run(dry(command))
    assert done.returncode == 0, done.stderr[-2000:]
    return jobs(done.stdout + done.stderr)


def test_the_readme_gives_the_commands_that_were_asked_for():
    assert {"make demo", "make test", "snakemake -n", "snakemake llm", "snakemake slm"} <= set(COMMANDS)
    assert snakemake("--resources", "gpu=1", "--cores", "1", "results/report.html")
    assert snakemake("--cores", "1", "--resources", "gpu=1", "--", "results/report.html")
    assert snakemake("--cores", "1", "--resources", "gpu=1", "results/report.html")


def test_options_may_follow_the_target():
    done = run("snakemake --cores 1 --resources gpu=1 results/report.html --dry-run --forceall --quiet rules")
    assert done.returncode == 0, done.stderr[-2000:]
    assert jobs(done.stdout + done.stderr)["report"] == 1


def test_the_four_forms_of_the_readme_run_as_written_and_with_more_options(finished, house, tmp_path):
    """For real, in the root of a checkout whose study is finished but for its report, by the installed command."""
    root = small_study.copy(finished, tmp_path / "checkout")
    for place in house.iterdir():
        copy = shutil.copytree if place.is_dir() else shutil.copy2
        copy(place, root / place.name)
    forms = [command for command in ROOT_COMMANDS if command.endswith("results/report.html")]
    assert len(forms) == 4
    report = root / "results" / "report.html"
    report.unlink()
    made = run(forms[0], root)
    assert made.returncode == 0, made.stderr[-2000:]
    assert report.exists()
    assert jobs(made.stdout + made.stderr) == {"report": 1, "total": 1}
    more = [form.replace("snakemake", "snakemake --keep-going --jobs 1", 1) for form in forms[1:2]]
    more += [f"{form} --keep-going --quiet rules" for form in forms[2:] if " -- " not in form][:1]  # after it: targets
    for command in (*forms[1:], *more):
        done = run(command, root)
        assert done.returncode == 0, command + done.stderr[-2000:]
        assert not jobs(done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--resources gpu=1 t", "--resources gpu=1 -- t"),
        ("--resources gpu=1 mem_mb=9 t u", "--resources gpu=1 mem_mb=9 -- t u"),
        ("--resources=gpu=1 t -n", "t --resources=gpu=1 -n"),
        ("--config seed=3 t", "--config seed=3 -- t"),
        ("--set-resources predict:mem_mb=9 t", "--set-resources predict:mem_mb=9 -- t"),
        (
            "--set-threads fit=2 --res mem_mb=1 t -j 2",
            "t --set-threads fit=2 --res mem_mb=1 -j 2",
        ),
        ("t --resources gpu=1 -n", "t --resources gpu=1 -n"),
        ("--resources gpu=1 -- t", "--resources gpu=1 -- t"),
        ("--resources gpu=1 a -- t", "--resources gpu=1 -- a t"),
        ("-n --until predict t", "-n --until predict t"),
        ("", ""),
    ],
)
def test_only_words_that_an_option_would_swallow_are_set_apart(words, expected):
    assert with_targets_apart(words.split()) == expected.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        *((words, True) for words in ("-n", "-nq rules", "--dry-run t", "--dryrun", "t -j 2 -pn")),
        *((words, False) for words in ("t --cores 1", "-- -n", "--unlock", "--notemp", "results/-n")),
    ],
)
def test_a_dry_run_is_known_by_its_words(words, expected):
    assert is_dry_run(words.split()) is expected


@pytest.mark.parametrize("command", ROOT_COMMANDS)
def test_a_snakemake_command_parses_and_finds_its_target(command):
    if "--dag" in command:
        done = run(command)
        assert done.stdout.startswith(("---", "flowchart", "graph", "%%")), done.stdout[:200] + done.stderr[-2000:]
        assert "finetune" in done.stdout
    else:
        assert dry_jobs(command)["total"] >= 5


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("results/report.html",),
            {
                "prepare_data": 1, "fit": 1, "predict_fitted": 1, "fetch_model": 4, "finetune": 6, "predict": 8,
                "predict_validation": 4, "score": 9,
                "compare": 1, "report": 1,
            },
        ),
        (
            ("results/slm/qwen3b/metrics.json",),
            {"prepare_data": 1, "fetch_model": 1, "finetune": 1, "predict": 1, "score": 1},
        ),
        (("llm",), {"llm": 1, "prepare_data": 1, "fetch_model": 2, "predict": 2, "score": 2}),
        (("slm",), {"slm": 1, "prepare_data": 1, "fetch_model": 2, "finetune": 2, "predict": 2, "score": 2}),
    ],
)  # fmt: skip
def test_a_target_takes_exactly_the_jobs_that_it_needs(words, expected):
    assert dry_jobs(snakemake(*words)) == {**expected, "total": sum(expected.values())}


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_a_make_command_has_its_target(command):
    done = run(command.replace("make", "make --dry-run", 1))
    assert done.returncode == 0, done.stderr


def test_make_alone_lists_the_targets():
    listed = run("make").stdout
    assert all(re.search(rf"^{target} +\w", listed, flags=re.MULTILINE) for target in ("demo", "test", "env", "lint"))


def test_make_demo_runs_the_study_that_lies_there():
    command = next(line for line in run("make --dry-run demo").stdout.splitlines() if line.startswith("snakemake"))
    done = run(dry(command))
    assert done.returncode == 0, done.stderr[-2000:]
    assert jobs(done.stdout + done.stderr)["report"] == 1


def test_each_ready_study_is_valid():
    for config in HOUSE.glob("studies/*/config.yaml"):
        done = run(f"snakemake --dry-run --directory {config.parent} llm slm")
        assert done.returncode == 0, done.stderr[-2000:]


HELP_OF_ALL = """
import contextlib, io, pathlib, runpy, sys
search = ["scripts", *sys.path]
for path in sorted(pathlib.Path("scripts").glob("*.py")):
    sys.argv, sys.path, code, said = [str(path), "--help"], list(search), "went on", io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    print(path.name, code, len(said.getvalue().splitlines()))
"""


def test_each_program_explains_itself():
    """In one process, since each would import the same packages."""
    done = subprocess.run([sys.executable, "-c", HELP_OF_ALL], cwd=HOUSE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {name: (code, int(lines)) for name, code, lines in map(str.split, done.stdout.splitlines())}
    assert set(found) == {path.name for path in (HOUSE / "scripts").glob("*.py")}
    assert {name: each for name, each in found.items() if each[0] != "0" or each[1] <= 5} == {}


def test_a_faulty_config_stops_snakemake_with_one_clear_sentence(tmp_path):
    config = (HOUSE / "config.yaml").read_text(encoding="utf-8").replace("r: 64", "r: 0")
    (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
    done = run(f"snakemake --dry-run --directory {tmp_path}")
    assert done.returncode != 0
    assert "config.yaml: finetune.lora.r must be at least 1" in done.stdout + done.stderr
