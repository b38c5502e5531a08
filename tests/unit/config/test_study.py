"""A faulty config is refused with the key, the value and what is allowed."""

import copy

import pytest

from slingshot.config.arms import Arm, arms_of, result_key
from slingshot.config.study import load_study, parse_study
from slingshot.core.errors import StudyError

STUDY = {
    "data": {"source": {"hub": "owner/name"}},
    "finetune": {"epochs": 2, "lora": {"alpha": 16}},
    "llm": {"large": {"source": {"hub": "owner/Large-3.1-8B"}, "size": "8B", "quantization": "nf4"}},
    "slm": {
        "small": {
            "source": {"hub": "owner/small-3B"},
            "size": "3B",
            "finetune": {"learning_rate": 1e-3, "lora": {"r": 8}},
        }
    },
}


def changed(path, value):
    study = copy.deepcopy(STUDY)
    *parents, key = path.split(".")
    section = study
    for parent in parents:
        section = section.setdefault(parent, {})
    section[key] = value
    return study


def test_a_models_override_is_laid_over_the_studys_section_key_by_key():
    study = parse_study(STUDY)
    finetune = study.slm["small"].finetune
    assert (finetune.lora.r, finetune.lora.alpha, finetune.epochs, finetune.learning_rate) == (8, 16, 2, 1e-3)
    assert study.llm["large"].finetune.learning_rate == 2e-4
    assert study.llm["large"].finetune.lora.alpha == 16


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("slm.small.finetune.lora.r", 0, "slm.small.finetune.lora.r must be at least 1, not 0"),
        ("finetune.learning_rate", -1, "finetune.learning_rate must be more than 0, not -1"),
        ("finetune.lora.drpout", 0.1, "finetune.lora.drpout is not a key of a study; did you mean dropout?"),
        ("slms", {}, "slms is not a key of a study; did you mean slm?"),
        ("llm.large.quantization", "nf5", "llm.large.quantization must be 'none', 'int8' or 'nf4', not 'nf5'"),
        ("llm.large.size", "eight", "llm.large.size must match"),
        ("data.source", {}, "data.source needs one of hub, path, not {}"),
        ("data.source", "owner/name", "data.source needs one of hub, path, not 'owner/name'"),
        ("data.source.revison", "v1", "data.source.revison is not a key of a study; did you mean revision?"),
        ("data.split", {"train": 0.9}, "train, validation and test must add up to 1, not 1.2"),
        ("data.level", "letter", "data.level must be 'code', 'category', 'block' or 'chapter', not 'letter'"),
        ("llm.large.source", {"wheel": "pkg==1", "gguf": "x.gguf"}, "llm.large.source.sha256 is missing"),
        ("llm.small", STUDY["slm"]["small"], "small stands under llm and under slm"),
        ("llm.a/b", STUDY["slm"]["small"], "llm.a/b must match"),
    ],
)
def test_a_fault_is_named_by_key_value_and_what_is_allowed(path, value, message):
    with pytest.raises(StudyError) as fault:
        parse_study(changed(path, value))
    assert message in str(fault.value)
    assert str(fault.value).startswith("config.yaml: ")


def test_a_fault_in_a_section_is_reported_once_and_not_for_every_model():
    with pytest.raises(StudyError) as fault:
        parse_study(changed("finetune.epochs", 0))
    assert str(fault.value) == "config.yaml: finetune.epochs must be more than 0, not 0"


def test_every_fault_is_named_at_once():
    study = changed("finetune.epochs", 0)
    del study["llm"]
    with pytest.raises(StudyError) as fault:
        parse_study(study)
    assert len(str(fault.value).splitlines()) == 2


def test_a_key_of_several_types_is_named_once_with_all_that_it_may_be():
    with pytest.raises(StudyError) as fault:
        parse_study(changed("finetune.lora.r", 0))
    assert str(fault.value) == "config.yaml: finetune.lora.r must be at least 1, not 0 or must be 'auto', not 0"


@pytest.mark.parametrize("text", ["[1, 2]", "key: [", "\ttab: 1"])
def test_a_file_that_is_no_config_is_one_clear_sentence(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(StudyError, match=r"config\.yaml"):
        load_study(tmp_path / "config.yaml")


def test_a_missing_config_is_one_clear_sentence(tmp_path):
    with pytest.raises(StudyError, match="is missing"):
        load_study(tmp_path / "config.yaml")


def test_plain_labels_have_no_tree():
    study = changed("data.labels", "plain")
    study["data"]["level"] = "chapter"
    with pytest.raises(StudyError, match="level must be code with plain labels"):
        parse_study(study)


def test_arms_and_their_keys_in_the_results_are_the_original_ones():
    study = parse_study(STUDY)
    keys = {arm.path: result_key(study, arm) for arm in arms_of(study)}
    assert keys["llm/large"] == "LLM_Large-3_1-8B_untrained"
    assert keys["slm/small"] == "SLM_small-3B_finetuned"
    assert Arm(kind="slm", model="small", variant="seed1", finetuned=True).path == "slm/small/seed1"
