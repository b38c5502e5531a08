"""predict.py as a program: the contract's files, the cache, a killed run, several processes' worth of parts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import predict
from slingshot.artifacts.layout import ArmFiles
from slingshot.artifacts.measurements import keep_launched
from slingshot.artifacts.model_card import Base, read_model_card
from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.records import ProcessRecord, read_step_record
from slingshot.config.recipe import FewShot, Generation, Lora
from slingshot.config.specs import AnswerSet, PredictSpec, PromptText
from slingshot.core.code_digest import imported_modules
from slingshot.core.errors import StudyError
from slingshot.generation.cached_answers import GENERATION
from slingshot.generation.engine import Sizes
from slingshot.models.loading import load_model
from slingshot.nn import lora
from slingshot.nn.adapter_files import save_adapter
from slingshot.runtime.spread import devices_of
from tests.splits import write_labels, write_split
from tests.tiny import byte_tokenizer
from tests.unit.tiny_models import tiny_model, write_tiny_model

SCRIPTS = Path(predict.__file__).parent

TEXTS = ["my throat is sore", "a rash on both hands", "stomach pain at night", "my throat is sore", "fever and a cough"]
LABELS = {"J020": "Streptococcal pharyngitis", "L237": "Contact dermatitis", "K259": "Gastric ulcer", "J02": "Throat"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_tiny_model(folder, pad_token_id=None)
    write_labels(folder / "labels.json", LABELS)
    write_split(folder / "test.parquet", TEXTS, LABELS)
    write_split(folder / "train.parquet", [f"train {text}" for text in TEXTS], LABELS)
    return folder


def spec_of(few_shot=0, prompt_tokens=400, quantization="none", fall_back=False, **generation):
    return PredictSpec(
        quantization=quantization,
        unquantized_without_gpu=fall_back,
        dtype="float32",
        prompt=PromptText(
            system="Code.", user="{{ text }} {{ answer_form }}?", answer="code", max_tokens=prompt_tokens
        ),
        generation=Generation(**{"max_new_tokens": 5, "constrained": False, **generation}),
        few_shot=FewShot(k=few_shot),
        labels="icd10cm",
        level="code",
    )


@pytest.fixture
def run(study, tmp_path, monkeypatch):
    def run(spec, split="test.parquet", name="p", cache="cache.sqlite", more=()):
        out = tmp_path / f"{name}.jsonl"
        arguments = ["predict.py", "--spec", spec.model_dump_json(), "--arm", "llm/tiny", "--device", "cpu"]
        arguments += ["--model", study / "card.json", "--labels", study / "labels.json"]
        arguments += ["--train", study / "train.parquet", "--split", study / split]
        arguments += ["--predictions", out, "--record", tmp_path / f"{name}.json", "--cache", tmp_path / cache]
        monkeypatch.setattr(sys, "argv", [str(part) for part in [*arguments, *more]])
        predict.main()
        return out.read_bytes(), read_step_record(tmp_path / f"{name}.json")

    return run


def test_the_contract(run, tmp_path):
    _, record = run(spec_of(constrained=True, candidates=3), name="p")
    predictions = read_predictions(tmp_path / "p.jsonl")
    assert [prediction.sample_id for prediction in predictions] == [f"{number:016x}" for number in range(5)]
    for prediction in predictions:
        assert prediction.constrained_code in LABELS
        assert len(prediction.candidates) == 3
        likely = [candidate.log_probability for candidate in prediction.candidates]
        assert likely == sorted(likely, reverse=True) and likely[0] <= 0
    assert predictions[0].raw == predictions[3].raw and predictions[0].sample_id != predictions[3].sample_id
    assert record.samples == 5 and record.cached_samples == 1  # the fourth is the first again
    assert record.prompt_tokens == sum(prediction.prompt_tokens for prediction in predictions)
    assert record.fresh_tokens is not None and 0 < record.fresh_tokens < record.prompt_tokens + record.new_tokens
    assert {"load", "prefill", "decode", "candidates"} <= set(record.seconds)


def test_sets_are_answered_as_lists_free_and_constrained(run, study, tmp_path):
    sets = [["L237", "J020"], [], ["K259"], ["J02", "K259", "L237"], ["J020"]]
    for split in ("test", "train"):
        write_split(study / f"{split}_sets.parquet", TEXTS, LABELS, sets)
    spec = spec_of(few_shot=2, constrained=True, candidates=3, max_new_tokens=40)
    several = AnswerSet(order="frequency", empty=True)
    spec = spec.model_copy(update={"prompt": spec.prompt.model_copy(update={"several": several})})
    train = ["--train", study / "train_sets.parquet"]
    content, record = run(spec, "test_sets.parquet", more=train)
    predictions = read_predictions(tmp_path / "p.jsonl")
    assert [prediction.labels for prediction in predictions] == sets
    assert [prediction.label for prediction in predictions[:2]] == ["L237; J020", ""]
    for prediction in predictions:
        assert set(prediction.constrained_codes) <= set(LABELS)  # and none twice: read_predictions refuses that
        assert prediction.constrained_code == "; ".join(prediction.constrained_codes)
        likely = [candidate.log_probability for candidate in prediction.candidates]
        assert len(likely) == 3 and likely == sorted(likely, reverse=True) and likely[0] <= 0
        if prediction.constrained_codes:
            assert {one.code for one in prediction.candidates} & set(prediction.constrained_codes)
    again, cached = run(spec, "test_sets.parquet", name="again", more=train)
    assert again == content and cached.cached_samples == 5 and record.new_tokens > 0


def test_a_hit_gives_the_bytes_of_a_fresh_run_and_needs_no_model(run, monkeypatch):
    spec = spec_of(constrained=True, candidates=3)
    fresh, _ = run(spec, name="a")
    with monkeypatch.context() as patch:
        patch.setattr("slingshot.generation.predict.load", lambda *_: pytest.fail("the model was loaded"))
        patch.setattr("slingshot.generation.predict.recall_run", lambda *_: None)
        again, record = run(spec, name="b")
    assert again == fresh
    assert record.cached_samples == 5 and record.fresh_tokens == 0
    elsewhere, _ = run(spec, name="c", cache="other.sqlite")
    assert elsewhere == fresh
    _, forced = run(spec, name="d", more=["--force"])
    assert forced.cached_samples == 1 and forced.fresh_tokens


def test_a_finished_run_comes_again_without_a_tokenizer(run, study, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("slingshot.generation.predict.warn_of_missing_template", lambda *_: ["no template"])
        fresh, first = run(spec_of(constrained=True), name="a")
    with monkeypatch.context() as patch:
        patch.setattr("slingshot.generation.predict.load_tokenizer", lambda *_: pytest.fail("a tokenizer was loaded"))
        again, record = run(spec_of(constrained=True), name="b")
    assert again == fresh
    assert record.cached_samples == record.samples == 5 and record.fresh_tokens == 0
    assert record.warnings == first.warnings == ["no template"]
    assert (record.prompt_tokens, record.new_tokens, record.notes) == (
        first.prompt_tokens,
        first.new_tokens,
        first.notes,
    )
    _, other = run(spec_of(constrained=True, max_new_tokens=4), name="other")
    assert other.fresh_tokens
    _, forced = run(spec_of(constrained=True), name="d", more=["--force"])
    assert forced.fresh_tokens


def test_everything_from_the_cache_imports_no_torch(run, study, tmp_path):
    """What is asked: under 2 s; torch and transformers alone take longer."""
    run(spec_of(), name="a")
    words = sys.argv[1:]
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import predict; sys.argv = ['predict.py', *sys.argv[1:]]; "
        "predict.main(); assert not {'torch', 'transformers', 'pandas', 'sklearn'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code, *words], check=True, timeout=60)


def test_only_what_is_new_is_computed(run, study, monkeypatch):
    write_split(study / "small.parquet", TEXTS[:2], LABELS)
    run(spec_of(), split="small.parquet")
    _, more = run(spec_of(), name="more")
    assert more.cached_samples == 3 and more.partly_cached_samples == 0
    _, parts = run(spec_of(candidates=2), name="parts")
    assert "decode" in parts.seconds and parts.new_tokens and parts.partly_cached_samples == 4
    _, other = run(spec_of(max_new_tokens=4), name="other")
    assert other.cached_samples == 1


def test_the_scale_of_an_adapter_is_part_of_what_its_answers_depend_on(run, study, tmp_path):
    """The weights are the same bytes; an answer that was kept of the other scale is another's."""
    write_adapter(study, tmp_path / "adapter")
    adapter = ("--adapter", tmp_path / "adapter")
    first, _ = run(spec_of(), more=adapter)
    settings = tmp_path / "adapter" / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"lora_alpha": 400}))
    again, record = run(spec_of(), more=adapter)
    assert record.cached_samples == 1 and again != first  # two of the texts are equal


def write_adapter(study, folder):
    """A LoRA adapter of random weights for the tiny model."""
    model = load_model(read_model_card(study / "card.json"), "none", "float32", "cpu")
    recipe = Lora(r=2, alpha=4, dropout=0.0)
    lora.add_adapters(model, recipe, 2, 4, seed=1)
    draw = torch.Generator().manual_seed(1)
    state = {name: torch.randn(value.shape, generator=draw) / 10 for name, value in lora.adapter_state(model).items()}
    save_adapter(folder, state, recipe, 2, 4, Base("tiny", None))


def test_a_killed_run_goes_on(run, monkeypatch):
    whole, _ = run(spec_of(), name="whole", cache="whole.sqlite")
    from slingshot.generation import generate as generation

    real = generation.generate

    def dying(*arguments):
        for number, answers in enumerate(real(*arguments)):
            if number:
                raise KeyboardInterrupt
            yield answers

    monkeypatch.setattr("slingshot.generation.packed._ON_CPU", Sizes(64, 128, 1))
    with monkeypatch.context() as patch:
        patch.setattr(generation, "generate", dying)
        with pytest.raises(KeyboardInterrupt):
            run(spec_of(), name="killed")
    resumed, record = run(spec_of(), name="killed")
    assert resumed == whole
    assert record.cached_samples == 2  # the one that was done, and its twin


def test_an_arm_that_thinks_keeps_its_thought_apart_from_its_answer(run, study, tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    opened = "<|im_start|>assistant\n{% if enable_thinking %}<think>\n{% endif %}"
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "<|im_start|>assistant\n{% endif %}", opened + "{% endif %}"
    )
    model = tiny_model("llama", vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, pad_token_id=None)
    folder = tmp_path / "thinker"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = read_model_card(study / "card.json").model_copy(update={"folder": str(folder), "revision": "r2"})
    card.write(tmp_path / "thinker.json")
    spec = spec_of(thinking=True, thinking_tokens=7, constrained=True)
    run(spec, more=["--model", tmp_path / "thinker.json"])
    for prediction in read_predictions(tmp_path / "p.jsonl"):
        assert prediction.thinking_tokens is not None and 1 <= prediction.thinking_tokens <= 7
        assert prediction.thinking is not None and "think>" not in prediction.thinking + prediction.raw
        assert prediction.new_tokens > prediction.thinking_tokens
        assert prediction.constrained_code in LABELS
    with pytest.raises(StudyError, match="lets no model think"):
        run(spec, name="other")


def test_few_shot_prompts_share_what_they_begin_with(run, tmp_path):
    _, record = run(spec_of(few_shot=2), name="few")
    _, plain = run(spec_of(), name="none")
    assert record.prompt_tokens > plain.prompt_tokens
    assert record.seed == 42 and plain.seed is None


def test_truncated_dialogues_are_counted(run, study, tmp_path):
    write_split(study / "long.parquet", ["word " * 200, "short"], LABELS)
    _, record = run(spec_of(prompt_tokens=120), split="long.parquet")
    assert record.truncated_samples == 1
    longest = max(prediction.prompt_tokens for prediction in read_predictions(tmp_path / "p.jsonl"))
    assert 100 < longest <= 120


def test_a_prompt_leaves_room_for_the_answer_in_the_models_own_context(run, study, tmp_path):
    write_split(study / "long.parquet", ["word " * 200, "short"], LABELS)
    _, record = run(spec_of(prompt_tokens=2000), split="long.parquet")
    assert record.truncated_samples == 1
    assert record.notes == ["prompts hold at most 507 tokens: the model was made for 512"]
    assert 490 < max(prediction.prompt_tokens for prediction in read_predictions(tmp_path / "p.jsonl")) <= 507
    with pytest.raises(StudyError, match=r"made for 512 tokens.*generation.max_new_tokens"):
        run(spec_of(max_new_tokens=512), split="long.parquet")


def test_a_quantized_model_without_a_gpu_is_refused_or_runs_unquantized_and_says_so(run):
    with pytest.raises(StudyError, match="needs a GPU"):
        run(spec_of(quantization="nf4"))
    plain, _ = run(spec_of(), name="plain")
    fallen, record = run(spec_of(quantization="nf4", fall_back=True), name="fallen")
    assert fallen == plain and record.cached_samples == 5  # it is the same computation
    assert record.notes == ["no GPU: ran in float32 instead of nf4"]


def test_two_processes_write_what_one_writes(run, tmp_path):
    """As on two GPUs: every second sample in a process of its own, one cache."""
    spec = spec_of(constrained=True)
    one, alone = run(spec, name="one", cache="one.sqlite")
    two, record = run(spec, name="two", cache="two.sqlite", more=["--gpus", "2"])
    assert two == one
    assert (record.samples, record.inputs) == (alone.samples, alone.inputs)
    assert "answered in 2 shards" in record.notes
    assert not list(tmp_path.glob(".parts-*"))


def test_a_process_that_fails_is_one_sentence(run, tmp_path):
    with pytest.raises(StudyError, match="process 1 of 2 failed"):
        run(spec_of(), more=["--gpus", "2", "--model", "gone.json"])


@pytest.mark.parametrize(
    ("visible", "count", "found"),
    [("GPU-a,GPU-b,GPU-c", 2, ["GPU-a", "GPU-b"]), (None, 2, ["0", "1"]), ("GPU-a", 2, None)],
)
def test_each_process_sees_one_device(monkeypatch, visible, count, found):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if found is None:
        with pytest.raises(StudyError, match="names 1"):
            devices_of("cuda", count)
    else:
        assert devices_of("cuda", count) == found


def test_a_shard_is_not_spread_over_gpus(run):
    with pytest.raises(StudyError, match="--shard and --gpus"):
        run(spec_of(), more=("--gpus", "2", "--shard", "1/2"))


def test_lines_are_json_without_nan(run):
    content, _ = run(spec_of(candidates=2), name="lines")
    for line in content.decode().splitlines():
        assert set(json.loads(line)) >= {"sample_id", "label", "raw", "code", "candidates", "prompt_tokens"}


def test_the_cache_depends_on_the_code_of_generation():
    modules = {path.name for path in imported_modules(GENERATION)}
    assert GENERATION.exists() and {"packed.py", "padded.py", "decode.py", "prefill.py"} <= modules


def test_what_whole_answers_took_outlives_a_run_that_finds_them_in_the_cache(run, tmp_path):
    """The launcher keeps a whole run's records; a later one that adds candidates, or finds all, holds them again."""

    def launched(name):
        process = ProcessRecord(step=name, arm="llm/tiny", exit_code=0, seconds=9.0, peak_resident=1)
        return keep_launched(process, ArmFiles(tmp_path), tmp_path / "measured")

    _, whole = run(spec_of(), name="whole")
    assert whole.earlier is None and launched("whole")
    _, more = run(spec_of(candidates=2), name="more")
    assert more.partly_cached_samples == 4 and not launched("more")
    assert more.earlier is not None and more.earlier.process.seconds == 9.0
    assert more.earlier.step == whole  # its device, versions, spec and inputs with it
    _, all_cached = run(spec_of(), name="cached")
    assert all_cached.earlier == more.earlier
    _, forced = run(spec_of(candidates=2), name="forced", more=["--force"])
    assert forced.earlier is None and launched("forced")
    _, other = run(spec_of(max_new_tokens=4), name="other")
    assert other.earlier is None  # other answers are another measurement
    (tmp_path / "measured" / f"{whole.answers_key}.json").write_text("{")
    _, damaged = run(spec_of(), name="damaged")
    assert damaged.earlier is None
