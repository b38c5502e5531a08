"""A dry run of a designed study: what designs share is one job, and the plan says what it will cost."""

import re
import shutil
from collections import Counter

import pytest
import yaml

from tests.workflow.small_study import HOUSE, run

DESIGNS = {
    "crossed": ["qwen3b", "llama8b"],
    "learning_curve": {"models": ["qwen3b"], "train_sizes": [100, 300]},
    "seeds": {"models": ["qwen3b", "llama8b"], "seeds": [1, 42]},
    "few_shot": {"models": ["llama8b"], "k": [5]},
    "sweep": {"models": ["qwen3b"], "grid": {"lora.r": [8, 64]}},
    "prompts": {"models": ["llama8b"], "files": ["prompts/icd10cm.yaml", "prompts/other.yaml"], "k": [0, 2]},
}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The dry run of the root's study with every design."""
    study = tmp_path_factory.mktemp("designed")
    shutil.copytree(HOUSE / "prompts", study / "prompts")
    shutil.copy(study / "prompts/icd10cm.yaml", study / "prompts/other.yaml")
    config = yaml.safe_load((HOUSE / "config.yaml").read_text(encoding="utf-8"))
    config |= {"designs": DESIGNS, "answering": {"ensemble_weights": "equal"}}
    (study / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    code, output = run(study, "--dry-run")
    assert code == 0, output[-3000:]
    return output


def test_each_arm_that_designs_share_is_listed_once(output):
    listed = Counter(re.findall(r"^rule (\w+):\n(?:    .*\n)*?    wildcards: arm=(\S+)", output, flags=re.MULTILINE))
    assert set(listed.values()) == {1}
    # lora.r: 64 is the study's own recipe, so slm/qwen3b competes in the sweep; seed 42 is the study's own.
    finetunes = sorted(arm for rule, arm in listed if rule == "finetune")
    assert finetunes == [
        "llm/llama8b/finetuned",
        "llm/llama8b/seed1",
        "slm/llama3b",
        "slm/qwen3b",
        "slm/qwen3b/seed1",
        "slm/qwen3b/sweep-r-8",
        "slm/qwen3b/train100",
        "slm/qwen3b/train300",
    ]


def test_candidates_of_a_sweep_are_never_answered_with(output):
    predicted = re.findall(r"^rule predict:\n(?:    .*\n)*?    wildcards: arm=(\S+)", output, flags=re.MULTILINE)
    assert not [arm for arm in predicted if "sweep-" in arm]
    assert "slm/qwen3b/best" in predicted


def test_the_plan_counts_model_steps_by_design_and_says_its_basis(output):
    counts = re.findall(r"^(\w+) +(\d+) +(\d+) +(?:> )?[\d.?]+$", output, flags=re.MULTILINE)
    assert counts == [
        ("study", "2", "4"),
        ("crossed", "1", "2"),
        ("learning_curve", "2", "2"),
        ("seeds", "2", "2"),
        ("few_shot", "0", "1"),
        ("sweep", "1", "1"),
        ("prompts", "0", "5"),
        ("total", "8", "17"),
    ]
    assert "as MedSynth is known to have" in output


def test_prompts_are_chosen_on_validation_and_test_is_read_once(output):
    answered = re.findall(r"^rule (predict\w*):\n(?:    .*\n)*?    wildcards: arm=(\S+)", output, flags=re.MULTILINE)
    of_prompts = [(rule, arm) for rule, arm in answered if "prompt" in arm]
    candidates = [f"llm/llama8b/prompt-{name}_k-{k}" for name in ("icd10cm", "other") for k in (0, 2)]
    assert sorted(of_prompts) == sorted(
        [("predict", "llm/llama8b/best_prompt"), *(("predict_validation", arm) for arm in candidates)]
    )
    assert re.search(
        r"^rule choose_prompt:\n(?:    .*\n)*?    wildcards: arm=llm/llama8b/best_prompt", output, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("sections", "steps"),
    [
        ((), {"prepare_data", "fit", "predict_fitted", "score", "compare", "report"}),
        (("llm",), {"prepare_data", "fit", "predict_fitted", "fetch_model", "predict", "score", "compare", "report"}),
        (
            ("slm",),
            {
                "prepare_data",
                "fit",
                "predict_fitted",
                "fetch_model",
                "finetune",
                "predict",
                "score",
                "compare",
                "report",
            },
        ),
    ],
)
def test_data_alone_large_models_alone_and_small_ones_alone_are_a_study(tmp_path, sections, steps):
    model = {"source": {"hub": "owner/model", "revision": "1" * 40}, "size": "1B", "hardware": {"device": "cpu"}}
    config = {"data": {"source": {"path": "a.csv"}, "labels": "plain"}, "x-anchors": {"a": 1}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {name: {"m": model} for name in sections}))
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    code, output = run(tmp_path, "--dry-run", "--quiet", "rules")
    assert code == 0, output[-3000:]
    planned = set(re.findall(r"^(\w+) +\d+$", output, flags=re.MULTILINE)) - {"all", "total"}
    assert {step.removesuffix("_validation") for step in planned} == steps


def test_a_model_out_of_anothers_wheel_is_fetched_last_and_depends_on_no_other(tmp_path):
    """It waits with a core in hand; as an input, a model added or removed would train the others again."""
    wheel = {"wheel": "some-model==1.0", "sha256": "0" * 64, "gguf": "some/model.gguf"}
    hub = {"hub": "owner/model", "revision": "1" * 40}
    common = {"size": "1B", "hardware": {"device": "cpu"}}
    config = {
        "data": {"source": {"path": "a.csv"}, "labels": "plain"},
        "llm": {"whole": {"source": wheel, **common}, "of_hub": {"source": hub, **common}},
        "slm": {"cut": {"source": wheel, "layers": 2, **common}, "also_of_hub": {"source": hub, **common}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    code, output = run(tmp_path, "--dry-run", "fetch")
    assert code == 0, output[-3000:]
    blocks = re.findall(r"^rule (fetch_\w+):\n((?:    .*\n)+)", output, flags=re.MULTILINE)
    found = {re.search(r"model=(\S+)", block)[1]: rule for rule, block in blocks}
    first = dict.fromkeys(["cut", "of_hub", "also_of_hub"], "fetch_model")
    assert found == {**first, "whole": "fetch_sharing_model"}
    assert not [block for _, block in blocks if "input:" in block]


def test_the_data_come_first_and_models_before_what_computes(output):
    assert priorities(output) == {"prepare_data": "4", "fetch_model": "3", "fit": "1"}


def test_on_processors_a_finetune_begins_before_what_can_run_beside_it(tmp_path):
    config = {
        "data": {"source": {"path": "a.csv"}, "labels": "plain"},
        "hardware": {"device": "cpu"},
        "slm": {"m": {"source": {"hub": "owner/model", "revision": "1" * 40}, "size": "1B"}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    code, output = run(tmp_path, "--dry-run")
    assert code == 0, output[-3000:]
    assert priorities(output)["finetune"] == "2"


def priorities(output):
    """By rule, as a dry run prints them."""
    return dict(re.findall(r"^rule (\w+):\n(?:    .*\n)*?    priority: (\d+)", output, flags=re.MULTILINE))


@pytest.mark.parametrize("threads", [1, None])
def test_a_step_takes_as_many_cores_as_its_model_says(tmp_path, threads):
    hardware = {"device": "cpu"} | ({"threads": threads} if threads else {})
    model = {"source": {"hub": "owner/model", "revision": "1" * 40}, "size": "1B", "hardware": hardware}
    config = {"data": {"source": {"path": "a.csv"}, "labels": "plain"}, "slm": {"m": model}, "baseline": {}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    code, output = run(tmp_path, "--dry-run", "--cores", "2", "results/slm/m/predictions.jsonl")
    assert code == 0, output[-3000:]
    assert threads_of_rules(output, "finetune|predict") == dict.fromkeys(["finetune", "predict"], threads or 2)


@pytest.mark.parametrize(("texts", "threads"), [(10, 1), (250_000, 2)])
def test_embedding_many_texts_takes_two_cores_and_few_one(tmp_path, texts, threads):
    model = {"source": {"hub": "owner/model", "revision": "1" * 40}, "size": "1B", "hardware": {"device": "cpu"}}
    config = {"data": {"source": {"path": "a.csv"}, "labels": "plain"}, "embedding": {"m": model}, "baseline": {}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "a.csv").write_text("text,label\n" + "some text,b\n" * texts)
    code, output = run(tmp_path, "--dry-run", "--cores", "2", "results/embedding/m/predictions.jsonl")
    assert code == 0, output[-3000:]
    assert threads_of_rules(output, "fit|predict_fitted") == {"fit": threads, "predict_fitted": threads}


def threads_of_rules(output, rules):
    """By rule, as a dry run prints them; Snakemake names no single thread."""
    blocks = re.findall(rf"^rule ({rules}):\n((?:    .*\n)+)", output, flags=re.MULTILINE)
    return {rule: int((re.search(r"^    threads: (\d+)", block, re.MULTILINE) or [0, 1])[1]) for rule, block in blocks}


def test_missing_files_are_one_line_each_and_concern_only_the_steps_that_read_them(tmp_path):
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"{n} coughs,{'ab'[n % 2]}\n" for n in range(40)))
    config = {
        "data": {"source": {"path": "texts.csv"}, "labels": "plain"},
        "hardware": {"device": "cpu"},
        "prompt": {"file": "gone.yaml"},
        "llm": {"large": {"source": {"api": "http://127.0.0.1:9/v1", "model": "m"}, "size": "70B"}},
        "predictions": {"vendor": {"file": "answers.csv"}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    for words in (["--dry-run"], []):
        code, output = run(tmp_path, *words)
        assert code == 1 and "Traceback" not in output
        assert re.findall("^error: (.*) is missing", output, flags=re.MULTILINE) == [
            "gone.yaml",
            "config.yaml: predictions.vendor.file: answers.csv",
        ]
    assert run(tmp_path, "--dry-run", "data")[0] == 0
    assert run(tmp_path, "data")[0] == 0  # no lock was left behind


def test_results_that_are_a_file_are_one_sentence(tmp_path):
    (tmp_path / "config.yaml").write_text("data: {source: {path: a.csv}, labels: plain}\n")
    (tmp_path / "results").touch()
    code, output = run(tmp_path, "data")
    assert code == 1 and "results must be a folder, and it is a file" in output and "Traceback" not in output


@pytest.mark.parametrize("target", ["archive", "report_available", "results/llm/b/export"])
def test_what_reads_the_config_itself_refuses_another_on_the_command_line(written, target):
    """`archive` would have packed the texts that report.archive_texts: false was to leave out."""
    said = ("--config", "report={archive_texts: false}")
    code, output = run(written, "--dry-run", *said, "--", target)
    assert code != 0 and "read config.yaml itself: write there what --config or --configfile says" in output
    code, output = run(written, "--dry-run", "--", target)
    assert code == 0, output[-3000:]


def test_the_report_takes_what_the_command_line_says(written):
    code, output = run(written, "--dry-run", "--config", "seed=3", "--", "results/report.html")
    assert code == 0, output[-3000:]
