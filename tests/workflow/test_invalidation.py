"""Only what changed: each row a change to a finished study, and the very jobs that `snakemake -n` then lists."""

import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from tests.workflow import small_study
from tests.workflow.small_study import OTHER_REVISION, planned

pytestmark = pytest.mark.workflow
LLM = ("llm/a", "llm/b")
SLM = ("slm/c", "slm/d")
ARMS = (*LLM, *SLM)
END = {"compare", "report"}
SCORES = {f"score {arm}" for arm in (*ARMS, "baseline/tfidf")}
FIT = {f"{step} baseline/tfidf" for step in ("fit", "predict_fitted")}
DATA = {"prepare_data"} | FIT


def from_predict(*arms):
    """The jobs of these arms from their predictions on, and what follows them."""
    return {f"{step} {arm}" for step in ("predict", "score") for arm in arms} | END


def from_finetune(*arms):
    return {f"finetune {arm}" for arm in arms} | from_predict(*arms)


# What is set in the config, by path of keys; None takes the key away.
CONFIG = {
    "one model's learning rate": ({"slm.c.finetune.learning_rate": 0.02}, from_finetune("slm/c")),
    "two values swapped between keys": (
        {"finetune.learning_rate": 0.02, "finetune.weight_decay": 0.01},
        from_finetune(*SLM),
    ),
    "a model's generation setting": ({"llm.a.generation.max_new_tokens": 6}, from_predict("llm/a")),
    "another revision": (
        {"llm.a.source.revision": OTHER_REVISION},
        {"fetch_model a"} | from_predict("llm/a"),
    ),
    "the prompt's form": ({"prompt.answer": "code description"}, from_finetune(*SLM) | from_predict(*LLM)),
    "the split's seed": ({"data.split.seed": 2}, DATA | SCORES | from_finetune(*SLM) | from_predict(*LLM)),
    "the seed of training": ({"seed": 7}, FIT | {"score baseline/tfidf"} | from_finetune(*SLM)),
    "a confidence level": ({"statistics.confidence": 0.9}, SCORES | END),
    "a price": ({"cost.gpu_hour_price": 2.5}, END),
    "a model added": (
        {"slm.e": {"source": {"folder": "models/e"}, "size": "10K", "dtype": "float32"}},
        {"fetch_model e"} | from_finetune("slm/e"),
    ),
    "a model removed": ({"slm.d": None}, END),
    "no baseline": ({"baseline.tfidf": False}, END),
    "what changes no result": (
        {
            "hardware.token_budget": 512,
            "hardware.checkpoint_minutes": 3,
            "hardware.checkpoint_steps": None,
            "hardware.tensorboard": False,
            "hardware.mem_mb": 3000,
            "hardware.runtime_minutes": 20,
            "slm.c.hardware.memory_gb": 4.0,
        },
        set(),
    ),
    # The report prints the study as it was written.
    "what only the report says": (
        {"report.title": "Another", "prompt.candidates": 11, "finetune.schedule": "cosine"},
        {"report"},
    ),
}

# What is replaced in which files of the checkout.
FINETUNE = "scripts/slingshot/training/finetune.py"
CODE = {
    "what computes nothing": (
        [
            ("scripts/slingshot/artifacts/metrics.py", r"\Z", "\n# A comment.\n"),
            (FINETUNE, r'\A"""', '"""Another start. '),
            ("scripts/predict.py", r'\A"""', '"""Another start. '),
            ("workflow/rules/arms.smk", r"\Z", "\n\n# A comment.\n"),
            ("scripts/launch.py", r"\Z", "\nCHANGED = 1\n"),
            ("envs/requirements.txt", r"==(\d)", r"==9\1"),
        ],
        set(),
    ),
    "finetuning": ([(FINETUNE, r"\Z", "\nCHANGED = 1\n")], from_finetune(*SLM)),
    "generation": ([("scripts/slingshot/generation/generate.py", r"\Z", "\nCHANGED = 1\n")], from_predict(*ARMS)),
    "metrics": ([("scripts/slingshot/artifacts/metrics.py", r"\Z", "\nCHANGED = 1\n")], SCORES | END),
    "figures": ([("scripts/slingshot/report/figures/overview.py", r"\Z", "\nCHANGED = 1\n")], {"report"}),
}


def changed(study, tmp_path, changes):
    """A copy of the study with another config."""
    copy = small_study.copy(study, tmp_path / "study")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    for path, value in changes.items():
        *parents, key = path.split(".")
        place = config
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is None:
            del place[key]
        else:
            place[key] = value
    (copy / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return copy


def touch_all(folder):
    """Give every file the time of now, in an order that has nothing to do with who made what."""
    now = time.time()
    for number, path in enumerate(sorted(folder.rglob("*"), reverse=True)):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path, (now + number / 1000, now + number / 1000))


def test_nothing_is_left_to_do_in_a_finished_study(finished, house):
    assert planned(finished, house=house) == {}


@pytest.fixture(scope="module")
def plans(finished, house, tmp_path_factory):
    """Name of a change to the jobs that a dry run lists after it; the dry runs go side by side."""

    def plan(name, place):
        if name in CONFIG:
            return set(planned(changed(finished, place, CONFIG[name][0]), house=house))
        other = shutil.copytree(house, place / "house")
        for file, pattern, replacement in CODE[name][0]:
            before = (other / file).read_text()
            after = re.sub(pattern, replacement, before, count=1)
            assert after != before, file
            (other / file).write_text(after)
        return set(planned(small_study.copy(finished, place / "study"), house=other))

    names = [*CONFIG, *CODE]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        places = [tmp_path_factory.mktemp("change") for _ in names]
        return dict(zip(names, pool.map(plan, names, places), strict=True))


@pytest.mark.parametrize("name", CONFIG)
def test_a_change_of_the_config_reruns_what_it_concerns(plans, name):
    assert plans[name] == CONFIG[name][1]


@pytest.mark.parametrize("name", CODE)
def test_a_change_of_the_code_reruns_what_it_means(plans, name):
    assert plans[name] == CODE[name][1]


def test_another_prompt_text_reruns_all_that_read_it(finished, house, tmp_path):
    study = small_study.copy(finished, tmp_path / "study")
    (study / "prompt.yaml").write_text("system: Give the code.\nuser: '{{ text }} {{ answer_form }}'\n")
    assert set(planned(study, house=house)) == from_finetune(*SLM) | from_predict(*LLM)


def test_other_content_of_a_local_model_or_data_set_is_seen(finished, house, tmp_path):
    study = small_study.copy(finished, tmp_path / "study")
    path = study / "models" / "c" / "generation_config.json"
    path.write_text(path.read_text().replace("{", '{"note": 1, ', 1))
    assert set(planned(study, house=house)) == {"fetch_model c"} | from_finetune("slm/c")
    with (study / "dialogues.csv").open("a") as data:
        data.write('"A new dialogue.",I10,"Essential (primary) hypertension"\n')
    everything = DATA | SCORES | {"fetch_model c"} | from_finetune(*SLM) | from_predict(*LLM)
    assert set(planned(study, house=house)) == everything


def test_time_stamps_alone_rerun_nothing(finished, house, tmp_path):
    """Files touched in the study, a fresh checkout, and both moved elsewhere."""
    study = small_study.copy(finished, tmp_path / "elsewhere")
    other = shutil.copytree(house, tmp_path / "clone")
    touch_all(study)
    touch_all(other)
    assert planned(study, house=other) == {}


def test_a_file_that_was_changed_by_hand_is_seen(finished, house, tmp_path):
    study = small_study.copy(finished, tmp_path / "study")
    with (study / "results" / "llm" / "a" / "predictions.jsonl").open("a") as predictions:
        predictions.write("\n")
    assert set(planned(study, house=house)) == {"score llm/a"} | END


def test_a_rivals_answers_to_validation_come_with_those_to_test(finished, house, tmp_path):
    """One process gives both, and nothing is fitted for them."""
    study = small_study.copy(finished, tmp_path / "study")
    answers = "results/baseline/tfidf/validation/predictions.jsonl"
    (study / answers).unlink()
    jobs = planned(study, answers, house=house)
    assert set(jobs) == {"predict_fitted baseline/tfidf"}
    assert answers in jobs["predict_fitted baseline/tfidf"]


def test_a_larger_test_split_trains_nothing_anew(finished, house, tmp_path):
    """`snakemake data` first: what follows is then compared by content, and train has not changed."""
    study = changed(finished, tmp_path, {"data.max_samples.test": 9})
    code, said = small_study.run(study, "--cores", "1", "data", house=house)
    assert code == 0, said[-3000:]
    assert set(planned(study, house=house)) == {"predict_fitted baseline/tfidf"} | SCORES | from_predict(*ARMS)


def test_the_reasons_can_be_read(finished, house, tmp_path):
    study = changed(finished, tmp_path, {"slm.c.finetune.learning_rate": 0.02})
    jobs = planned(study, house=house)
    assert "Params have changed" in jobs["finetune slm/c"]
    assert "adapter_model.safetensors" in jobs["predict slm/c"]
    assert "before: 'finetune.learning_rate = 0.01' now: 'finetune.learning_rate = 0.02'" in jobs["finetune slm/c"]
    assert max(map(len, jobs.values())) < 400


def test_large_local_files_are_not_read_at_every_start(finished, house, tmp_path):
    """A digest is remembered: one that is put into the memory by hand is believed."""
    study = small_study.copy(finished, tmp_path / "study")
    assert planned(study, house=house) == {}  # the copied files have another path, so they are read once
    memory = study / ".snakemake" / "slingshot" / "digests.json"
    known = json.loads(memory.read_text())
    ours = [key for key in known if key.startswith(f"{study}/dialogues.csv")]
    memory.write_text(json.dumps({**known, ours[0]: "0" * 64}))
    assert "prepare_data" in planned(study, house=house)


@pytest.mark.slow  # 40 s
def test_a_spec_longer_than_a_command_line_goes_through_a_file(finished, house, tmp_path):
    """As with some hundred models; Linux takes no argument of 128 KB."""
    study = changed(finished, tmp_path, {"report.note": "A long note. " * 12_000})
    code, said = small_study.run(study, "--cores", "1", house=house)
    assert code == 0, said[-3000:]
    assert planned(study, house=house) == {}
    assert "A long note. A long note." in (study / "results" / "report.html").read_text()
