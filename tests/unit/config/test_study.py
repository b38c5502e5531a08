"""A faulty config is refused with the key, the value and what is allowed."""

import copy

import pytest

from slingshot.config.arms import Arm, arms_of, result_key
from slingshot.config.study import load_study, parse_study
from slingshot.core.errors import StudyError
from slingshot.core.yaml_files import read_yaml

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
        (
            "slm.small.threads",
            1,
            "slm.small.threads is not a key of a study; did you mean slm.small.hardware.threads?",
        ),
        ("data.batch_size", 1, "data.batch_size is not a key of a study; did you mean finetune.batch_size?"),
        ("slms", {}, "slms is not a key of a study; did you mean slm?"),
        ("evaluation", {"shards": 2}, "evaluation is now answering: rename it"),
        ("llm.large.quantization", "nf5", "llm.large.quantization must be 'none', 'int8', 'nf4' or 'fp8', not 'nf5'"),
        ("llm.large.size", "eight", "llm.large.size must be a number with K, M or B such as 135M, not 'eight'"),
        ("llm", None, "llm must hold keys and values, or be {}, not None"),
        ("data.split.seed", "abc", "data.split.seed must be a whole number, not 'abc'"),
        ("finetune.learning_rate", "fast", "finetune.learning_rate must be a number, not 'fast'"),
        ("data.source", {}, "data.source needs exactly one of hub, path, not {}"),
        ("data.source", "owner/name", "data.source needs exactly one of hub, path, not 'owner/name'"),
        ("data.source.revison", "v1", "data.source.revison is not a key of a study; did you mean revision?"),
        ("data.split", {"train": 0.9}, "train, validation and test must add up to 1, not 1.2"),
        ("data.level", "letter", "data.level must be 'code', 'category', 'block' or 'chapter', not 'letter'"),
        ("llm.large.source", {"wheel": "pkg==1", "gguf": "x.gguf"}, "llm.large.source.sha256 is missing"),
        ("llm.small", STUDY["slm"]["small"], "small stands under llm and under slm"),
        (
            "predictions",
            {"x": {"file": "a.csv", "test_sets": {"b": "b.csv"}}},
            "predictions.x.test_sets names b, but data.test_sets has none",
        ),
        ("data.split", {"train": 0.85, "test": 0}, "data.split.test is 0, but every arm is scored on it"),
        ("data.split", {"train": 0.85, "validation": 0}, "data.split.validation is 0, but models are trained and"),
        ("data.split", {"train": 0, "test": 0.85}, "data.split.train is 0, but models are trained and chosen on it"),
        ("llm.a/b", STUDY["slm"]["small"], "llm.a/b must match"),
    ],
)
def test_a_fault_is_named_by_key_value_and_what_is_allowed(path, value, message):
    with pytest.raises(StudyError) as fault:
        parse_study(changed(path, value))
    assert message in str(fault.value)
    assert str(fault.value).startswith("config.yaml: ")


BOTH = {"train": "a.csv", "validation": "b.csv", "test": "b.csv"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"source": {"hub": "a/b", "path": "x.csv"}}, "data.source needs exactly one of hub, path, not {'hub': 'a/b'"),
        ({"source": {"path": ""}}, "data.source.path must not be empty"),
        ({"source": {"path": "  "}}, "data.source.path must be a path on one line"),
        ({"source": {"path": "a\nb"}}, "data.source.path must be a path on one line"),
        ({"source": {"hub": "../data"}}, "data.source.hub must be an id of the hub such as owner/name, not '../data'"),
        (
            {"source": {"hub": "a/b", "revision": "-x"}},
            "data.source.revision must be a commit, tag or branch, not '-x'",
        ),
        ({"source": {"path": "a.csv", "encoding": "utf-9"}}, "Python knows no encoding 'utf-9' of texts"),
        ({"source": {"path": BOTH}, "split": {"method": "source"}}, "names 'b.csv' for validation and for test"),
        ({"source": {"path": {"train": "a", "test": "b"}}, "split": {"method": "source"}}, "nothing for validation"),
        ({"source": {"path": "a.csv"}, "labels": {"tree": ""}}, "data.labels.tree must not be empty"),
        ({"source": {"path": "a.csv"}, "labels": "icd9"}, "data.labels must be 'icd10cm' or 'plain', not 'icd9'"),
        ({"source": {"path": "a.csv"}, "columns": {"text": []}}, "data.columns.text"),
        ({"source": {"path": "a.csv"}, "columns": {"text": ["x", "x"]}}, "names x more than once"),
        ({"source": {"path": "a.csv"}, "columns": {"label": " "}}, "data.columns.label must not be blank, not ' '"),
        ({"source": {"path": "a.csv"}, "columns": {"text": ["a", "b"], "label": "b"}}, "a text would be its own label"),
        ({"source": {"path": "a.csv"}, "split": {"seed": -1}}, "data.split.seed must be at least 0, not -1"),
        ({"source": {"path": "a.csv"}, "split": {"near_duplicate_similarity": 0}}, "must be more than 0, not 0"),
        (
            {
                "source": {"path": "a.csv"},
                "test_sets": {"b": {"source": {"path": "b.csv"}, "columns": {"split": "part"}}},
            },
            "test_sets.b.columns.split: a further test set has no splits",
        ),
    ],
)
def test_a_faulty_data_section_is_refused_before_anything_is_read(data, message):
    with pytest.raises(StudyError) as refusal:
        parse_study({**STUDY, "data": data})
    assert message in str(refusal.value)


def test_a_fault_in_a_section_is_reported_once_and_not_for_every_model():
    with pytest.raises(StudyError) as fault:
        parse_study(changed("finetune.epochs", 0))
    assert str(fault.value) == "config.yaml: finetune.epochs must be more than 0, not 0"


def test_every_fault_is_named_at_once():
    study = changed("finetune.epochs", 0)
    study["seed"] = "x"
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


ENDPOINT = {"source": {"api": "http://127.0.0.1:8000/v1", "model": "org/Big-70B"}}


def with_endpoint(**changes):
    study = copy.deepcopy(STUDY)
    entry = copy.deepcopy(ENDPOINT)
    entry["source"] |= changes.pop("source", {})
    study["llm"]["behind"] = entry | changes
    return study


def test_an_endpoint_is_a_model_of_unknown_size_whose_arm_is_asked():
    study = parse_study(with_endpoint(prices={"input": 2.5, "output": 10}))
    assert study.llm["behind"].display_name == "Big-70B"
    assert study.llm["behind"].size is None
    assert {arm.path: arm.asked for arm in arms_of(study)} == {
        "llm/large": False, "llm/behind": True, "slm/small": False, "baseline/tfidf": False,
    }  # fmt: skip


def test_constrained_answers_are_the_default_where_they_cost_no_second_request():
    study = parse_study(with_endpoint())
    assert {name: model.generation.constrained for name, model in study.models.items()} == {
        name: not model.is_asked for name, model in study.models.items()
    }
    asked = parse_study({**with_endpoint(), "generation": {"constrained": True}})
    assert all(model.generation.constrained for model in asked.models.values())
    unasked = parse_study({**with_endpoint(), "generation": {"constrained": False}})
    assert not any(model.generation.constrained for model in unasked.models.values())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "[::1]", "box.localhost"])
def test_this_machine_may_be_asked_without_more_ado(host):
    parse_study(with_endpoint(source={"api": f"http://{host}:8000/v1"}))


@pytest.mark.parametrize(
    "host", ["api.example.org", "10.0.0.5", "0.0.0.0", "127.0.0.1.example.org", "localhost.example.org", "[::2]"]
)
def test_texts_leave_this_machine_only_if_told_so(host):
    with pytest.raises(StudyError, match=r"llm\.behind\.source.*sends_texts: true"):
        parse_study(with_endpoint(source={"api": f"https://{host}/v1"}))
    parse_study(with_endpoint(source={"api": f"https://{host}/v1", "sends_texts": True}))


def test_a_key_in_the_place_of_its_variables_name_is_not_shown():
    with pytest.raises(StudyError, match=r"key_env is wrong: must be the name") as error:
        parse_study(with_endpoint(source={"key_env": "sk-1234"}))
    assert "1234" not in str(error.value)


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (with_endpoint(source={"api": "https://user:secret@127.0.0.1/v1"}), "must hold no user, key or query"),
        (with_endpoint(source={"api": "http://127.0.0.1/v1?key=secret"}), "must hold no user, key or query"),
        (with_endpoint(source={"parameters": {"messages": []}}), "sets messages, which prompt and generation decide"),
        (with_endpoint(quantization="nf4"), "layers and quantization cannot be set"),
        (with_endpoint(designs={}), "llm.behind.designs is not a key"),
        (with_endpoint() | {"designs": {"crossed": ["behind"]}}, r"designs\.crossed finetunes behind"),
        (with_endpoint() | {"slm": {"tiny": ENDPOINT}}, r"slm\.tiny is behind an endpoint and cannot be finetuned"),
        (changed("llm.large.prices", {"input": 1, "output": 1}), "only an endpoint's tokens"),
        (changed("llm.large.size", None), "only a model behind an endpoint may have an unknown one"),
    ],
)
def test_a_faulty_endpoint_is_refused(study, message):
    with pytest.raises(StudyError, match=message):
        parse_study(study)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nllm: {}\nseed: 2\n", r"config\.yaml: seed stands in line 1 and in line 3"),
        ("data:\n  source: {path: a.csv}\n  source: {path: b.csv}\n", r"data\.source stands in line 2 and in line 3"),
        ("llm:\n  a: {size: 1B, size: 2B}\n", r"llm\.a\.size stands in line 2 and in line 2"),
        ("x:\n- {a: 1}\n- {a: 1, a: 2}\n", r"x\[1\]\.a stands in line 3 and in line 3"),
        ("'seed': 1\nseed: 2\n", "seed stands in line 1 and in line 2"),
    ],
)
def test_a_key_that_stands_twice_is_an_error_with_both_lines(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(StudyError, match=message):
        load_study(tmp_path / "config.yaml")


def test_an_anchor_that_is_merged_and_overridden_is_no_twin(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read_yaml(tmp_path / "a.yaml")["b"] == {"x": 3, "y": 2}


def test_two_models_of_one_display_name_have_keys_of_their_own_in_the_results():
    study = parse_study(changed("llm.twin", {"source": {"hub": "another/Large-3_1-8B"}, "size": "8B"}))
    keys = [result_key(study, arm) for arm in arms_of(study)]
    assert keys == [
        "LLM_Large-3_1-8B-large_untrained",
        "LLM_Large-3_1-8B-twin_untrained",
        "SLM_small-3B_finetuned",
        "BASELINE_tfidf_finetuned",
    ]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("slm.small.finetune.max_tokens", 999, "leave finetune.max_tokens out"),
        ("slm.small.few_shot", {"k": 2}, "put few_shot under the llm models"),
        ("designs", {"sweep": {"models": ["small"], "grid": {"max_tokens": [256]}}}, "take it out"),
    ],
)
def test_a_finetuned_model_answers_the_prompts_that_it_is_trained_on(path, value, message):
    with pytest.raises(StudyError, match=message):
        parse_study(changed(path, value))


def test_float16_is_for_answering_and_refused_where_a_model_is_finetuned():
    """Small gradients are no numbers in it."""
    assert parse_study(changed("llm.large.dtype", "float16")).llm["large"].dtype == "float16"
    with pytest.raises(StudyError, match=r"slm\.small: dtype: float16 is for answering.*set auto, bfloat16 or float32"):
        parse_study(changed("slm.small.dtype", "float16"))
    crossed = changed("llm.large.dtype", "float16") | {"designs": {"crossed": ["large"]}}
    with pytest.raises(StudyError, match=r"llm\.large: dtype: float16"):
        parse_study(crossed)


def test_the_window_of_a_prompt_is_that_of_training():
    study = parse_study(changed("prompt", {"max_tokens": 300}))
    assert {model.finetune.max_tokens for model in study.slm.values()} == {300}
