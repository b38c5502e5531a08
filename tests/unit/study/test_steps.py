"""A step's spec holds what the step uses: a key that it does not read leaves its spec as it was."""

import copy
import os
import time
from pathlib import Path

import pytest

from slingshot.config.study import parse_study
from slingshot.core.errors import StudyError
from slingshot.core.fingerprints import fingerprint
from slingshot.study.steps import keys_of, step_spec
from tests.unit.config.test_study import STUDY, changed


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/icd10cm.yaml").write_text("system: Code.\nuser: '{{ text }}'\n")
    return tmp_path


def specs(raw, folder):
    study = parse_study(copy.deepcopy(raw))
    targets = {
        "prepare_data": [""],
        "fit": ["baseline/tfidf"],
        "predict_fitted": ["baseline/tfidf"],
        "fetch_model": ["large", "small"],
        "finetune": ["slm/small"],
        "predict": ["llm/large", "slm/small"],
        "score": ["llm/large", "slm/small", "baseline/tfidf"],
        "compare": [""],
        "report": [""],
    }
    return {
        (step, target): step_spec(study, folder, step, target, {"written": "once"}).model_dump_json()
        for step, names in targets.items()
        for target in names
    }


@pytest.mark.parametrize(
    ("path", "value", "reruns"),
    [
        ("slm.small.finetune.learning_rate", 5e-4, {("finetune", "slm/small")}),
        ("slm.small.prompt.max_tokens", 999, {("finetune", "slm/small"), ("predict", "slm/small")}),
        ("llm.large.generation", {"max_new_tokens": 9}, {("predict", "llm/large")}),
        ("llm.large.source", {"hub": "owner/Large-3.1-8B", "revision": "v2"}, {("fetch_model", "large")}),
        ("data.split", {"seed": 1}, {("prepare_data", "")}),
        ("report", {"title": "New"}, {("report", "")}),
        ("cost", {"gpu_hour_price": 2}, {("compare", ""), ("report", "")}),
        ("few_shot", {"selection": "nearest", "seed": 7}, set()),  # where no prompt has examples
        ("generation", {"thinking_tokens": 9}, set()),
        (
            "generation",
            {"constrained": False, "vocabulary": "study"},
            {("predict", "llm/large"), ("predict", "slm/small")},
        ),
        ("statistics", {"margin": 3, "seed": 7}, {("compare", ""), ("report", "")}),
        ("hardware", {"token_budget": 4096, "memory_gb": 24, "mem_mb": 9000}, set()),
    ],
)
def test_a_changed_key_changes_the_specs_that_read_it_and_no_other(folder, path, value, reruns):
    before, after = specs(STUDY, folder), specs(changed(path, value), folder)
    assert {step for step in before if before[step] != after[step]} == reruns


def test_a_changed_prompt_file_concerns_the_model_steps(folder):
    before = specs(STUDY, folder)
    (folder / "prompts/icd10cm.yaml").write_text("system: Code well.\nuser: '{{ text }}'\n")
    after = specs(STUDY, folder)
    assert {step for step, _ in before if before[step, _] != after[step, _]} == {"finetune", "predict"}


@pytest.mark.parametrize(
    ("step", "target", "message"),
    [
        ("fetch_model", "smal", "the study fetches no model smal; it fetches large, small"),
        ("predict", "slm/smal", "the study has no arm slm/smal; it has llm/large, slm/small, baseline/tfidf"),
        ("train", "", "there is no step train"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(folder, step, target, message):
    with pytest.raises(StudyError, match=message):
        step_spec(parse_study(copy.deepcopy(STUDY)), folder, step, target)


def test_a_missing_data_file_is_named_with_its_key(folder):
    raw = changed("data.source", {"path": "data/none.csv"})
    with pytest.raises(StudyError, match=r"config\.yaml: data\.source\.path: .*none\.csv is missing"):
        step_spec(parse_study(raw), folder, "prepare_data")


def test_a_missing_model_folder_is_named_with_its_key(folder):
    raw = changed("slm.small.source", {"folder": "nowhere"})
    with pytest.raises(StudyError, match=r"config\.yaml: slm\.small\.source: .*nowhere is missing"):
        step_spec(parse_study(raw), folder, "fetch_model", "small")


def test_a_fingerprint_follows_the_content_and_remembers_it(tmp_path):
    data, memory = tmp_path / "data", tmp_path / "memory.json"
    data.mkdir()
    (data / "a.csv").write_text("1")
    first = fingerprint(data, "data", memory)
    assert fingerprint(data, "data", memory) == first
    (data / "a.csv").write_text("2")
    assert fingerprint(data, "data", memory) != first
    (data / "a.csv").write_text("1")
    memory.write_text("damaged")
    assert fingerprint(data, "data", memory) == first
    (data / "a.csv").rename(data / "b.csv")
    assert fingerprint(data, "data", memory) != first


def test_other_content_with_the_size_and_the_time_stamp_of_the_old_is_seen(tmp_path):
    """As `cp -p` and `rsync -t` leave it."""
    data, memory = tmp_path / "a.csv", tmp_path / "memory.json"
    data.write_text("1")
    status, first = data.stat(), fingerprint(data, "data", memory)
    time.sleep(0.02)  # the system's clock of files ticks every few milliseconds
    data.write_text("2")
    os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert data.stat().st_mtime_ns == status.st_mtime_ns
    assert fingerprint(data, "data", memory) != first


@pytest.mark.parametrize("name", ["hardware", "answering"])
def test_a_model_may_have_the_name_of_a_section(name, folder):
    raw = {**STUDY, "llm": {**STUDY["llm"], name: {**next(iter(STUDY["llm"].values())), "hardware": {"gpus": 2}}}}
    spec = step_spec(parse_study(raw), folder, "report", written_config={**raw, "hardware": {"device": "cpu"}})
    assert name in spec.config["llm"] and "hardware" not in spec.config["llm"][name]
    assert "hardware" not in spec.config and "answering" not in spec.config


def test_a_change_of_the_gathering_reruns_it():
    study = parse_study(STUDY)
    assert step_spec(study, Path(), "gather", "llm/large").code
    assert "shards" in keys_of("gather") and "code" in keys_of("gather")


def test_the_specs_of_a_study_of_sets_say_so(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,y\n")
    config = {
        "data": {"source": {"path": "a.csv"}, "labels": "plain", "several": {"allow_empty": True}},
        "prompt": {"order": "frequency"},
        "llm": {"a": {"source": {"hub": "o/a"}, "size": "1B"}},
        "slm": {"b": {"source": {"hub": "o/b"}, "size": "1B", "generation": {"max_new_tokens": 99}}},
    }
    study = parse_study(config)
    for step, target in (("predict", "llm/a"), ("finetune", "slm/b"), ("score", "llm/a"), ("fit", "baseline/tfidf")):
        spec = step_spec(study, tmp_path, step, target)
        if "prompt" in type(spec).model_fields:
            assert spec.prompt.several.model_dump() == {"order": "frequency", "empty": True}
            assert "{{ labels }}" in spec.prompt.system and "all labels" in spec.prompt.system
        else:
            assert spec.several is True
    assert [model.generation.max_new_tokens for model in study.models.values()] == [256, 99]
    single = parse_study({**config, "data": {**config["data"], "several": None}})
    assert step_spec(single, tmp_path, "predict", "llm/a").prompt.several is None
    assert not step_spec(single, tmp_path, "score", "llm/a").several


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"finetune": {"head": "classify"}}, "a head over labels chooses one"),
        (
            {"data": {"source": {"path": "a.csv"}}, "finetune": {"select_by": "validation_micro_f1"}},
            "is for data.several",
        ),
    ],
)
def test_what_sets_or_single_labels_can_not_have_is_refused(change, complaint):
    config = {
        "data": {"source": {"path": "a.csv"}, "several": {}},
        "slm": {"b": {"source": {"hub": "o/b"}, "size": "1B"}},
    }
    with pytest.raises(StudyError, match=complaint):
        parse_study({**config, **change})


def test_an_edit_of_any_code_tree_changes_what_the_data_step_receives(folder):
    for name in ("own", "theirs"):
        (folder / f"{name}.csv").write_text("code,parent,description\nA,,a\n")
    raw = changed("data.labels", {"tree": "own.csv"})
    raw["data"]["test_sets"] = {"b": {"source": {"hub": "o/b"}, "labels": {"tree": "theirs.csv"}}}
    seen = []
    for edited in (None, "own.csv", "theirs.csv"):
        if edited:
            (folder / edited).write_text("code,parent,description\nB,,b\n")
        seen.append(step_spec(parse_study(copy.deepcopy(raw)), folder, "prepare_data").model_dump_json())
    assert len(set(seen)) == 3


def test_examples_are_followed_where_their_number_is_chosen(folder):
    raw = copy.deepcopy(STUDY) | {
        "designs": {"prompts": {"models": ["large"], "files": ["prompts/icd10cm.yaml"], "k": [2]}}
    }

    def asked(seed):
        study = parse_study(raw | {"few_shot": {"seed": seed}})
        return [step_spec(study, folder, "predict", f"llm/large{at}").few_shot.seed for at in ("", "/best_prompt")]

    assert asked(7) == [42, 7]
