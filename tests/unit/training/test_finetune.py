"""finetune.py from end to end on a tiny model: it learns, it is exact, and a kill costs nothing but time."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import time
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from slingshot.artifacts.records import read_step_record
from slingshot.artifacts.training import digest_of_adapter
from slingshot.config.recipe import Finetune, Lora
from slingshot.config.specs import AnswerSet
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json, read_jsonl
from slingshot.core.hashing import digest_of_file
from slingshot.nn import lora
from slingshot.nn.adapter_files import read_adapter
from slingshot.training import finetune as finetuning
from slingshot.training import forward_paths, schedule, token_budget
from slingshot.training import samples as training_samples
from slingshot.training.answer_scores import micro_f1, share_equal
from slingshot.training.batches import Sample
from slingshot.training.checkpoints import newest_checkpoint
from slingshot.training.finetune import finetune
from slingshot.training.state import FinetuneJob, State, Trainer
from slingshot.training.token_budget import find_token_budget, shrink_budget
from slingshot.training.workers import Workers
from tests.tiny import byte_tokenizer
from tests.unit.tiny_models import tiny_model
from tests.unit.training_inputs import command, paths, random_samples, spec, write_study

ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    return folder


def run(study, out, wanted=None, **more):
    finetune(FinetuneJob(spec=wanted or spec(), arm="slm/tiny", device="cpu", **paths(study, out), **more))
    return paths(study, out)


def adapter_digest(made):
    return digest_of_file(made["adapter"] / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def unbroken(study):
    return run(study, "unbroken")


def test_it_learns_and_says_how(unbroken):
    summary, rows = read_json(unbroken["training"]), read_jsonl(unbroken["log"])
    assert summary["steps"] == len(rows) == summary["planned_steps"] == 8
    assert summary["last_train_loss"] < summary["first_train_loss"]
    assert summary["train_samples"] == 16 and summary["validation_samples"] == 8
    evaluated = {row["step"]: row["validation_loss"] for row in rows if "validation_loss" in row}
    assert list(evaluated) == [3, 6, 8]
    assert summary["best_validation_loss"] == min(evaluated.values()) == evaluated[summary["best_step"]]
    assert {"step", "epoch", "loss", "learning_rate", "gradient_norm", "tokens_per_second", "memory"} <= rows[0].keys()
    record = read_step_record(unbroken["record"])
    assert record.trained_tokens == sum(row["tokens"] for row in rows)
    assert record.inputs["adapter"] == digest_of_adapter(unbroken["adapter"]) and not record.notes
    assert record.seconds["check"] > 0
    assert not (unbroken["adapter"].parent / "checkpoints").exists()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(study, unbroken):
    assert adapter_digest(run(study, "again", spec(deterministic=True))) == adapter_digest(unbroken)
    torch.use_deterministic_algorithms(False)
    assert adapter_digest(run(study, "other", spec().model_copy(update={"seed": 8}))) != adapter_digest(unbroken)


@pytest.fixture(scope="module")
def in_float32(study):
    """A run that no rounding to bfloat16 blurs, and the spec of its like."""
    wanted = spec().model_copy(update={"dtype": "float32"})
    return run(study, "float32", wanted), wanted


def assert_trained_alike(made, other):
    """Loss and gradient norm step by step (AdamW hides a gradient's scale), and the adapters."""
    for one, two in zip(read_jsonl(made["log"]), read_jsonl(other["log"]), strict=True):
        assert one.keys() == two.keys()
        for key in {"loss", "gradient_norm", "validation_loss"} & one.keys():
            assert two[key] == pytest.approx(one[key], rel=1e-4)
    first, second = (read_adapter(out["adapter"])[1] for out in (made, other))
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=1e-3, atol=1e-4)


def test_the_token_budget_changes_rounding_alone(study, in_float32):
    made, wanted = in_float32
    assert_trained_alike(made, run(study, "small_bins", wanted, token_budget=64))
    assert read_step_record(paths(study, "small_bins")["record"]).token_budget < 200


def test_a_run_killed_at_random_ends_in_the_same_bytes(study, unbroken):
    draw = random.Random(int.from_bytes(os.urandom(4)))
    start = time.monotonic()
    subprocess.run(command(study, "timed", spec()), env=ALONE, check=True, timeout=120, capture_output=True)
    whole = time.monotonic() - start
    line = command(study, "killed", spec(), "--checkpoint-steps", "1")
    for _ in range(2):
        process = subprocess.Popen(line, env=ALONE, stderr=subprocess.DEVNULL)
        time.sleep(whole * draw.uniform(0.6, 1))
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    subprocess.run(line, env=ALONE, check=True, timeout=120, capture_output=True)
    assert adapter_digest(paths(study, "killed")) == adapter_digest(unbroken)


@pytest.mark.parametrize("poisoned", [False, True])
def test_a_run_cut_off_after_a_checkpoint_goes_on_from_it(study, unbroken, monkeypatch, poisoned):
    out = f"cut_{poisoned}"

    class KilledError(Exception):
        pass

    plain = finetuning.training_step

    def until_six(trainer, state):
        if state.step == 5:
            raise KilledError
        return plain(trainer, state)

    monkeypatch.setattr(finetuning, "training_step", until_six)
    with pytest.raises(KilledError):
        run(study, out, checkpoint_steps=2)
    (folder,) = (paths(study, out)["adapter"].parent / "checkpoints").iterdir()
    assert newest_checkpoint(folder).step == 4
    if poisoned:
        path = folder / "step-0000004.safetensors"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    began = []
    monkeypatch.setattr(
        finetuning, "training_step", lambda trainer, state: (began.append(state.step), plain(trainer, state))[1]
    )
    assert adapter_digest(run(study, out)) == adapter_digest(unbroken)
    assert began[0] == (2 if poisoned else 4)


def test_a_termination_warning_leaves_a_checkpoint(study, unbroken, monkeypatch):
    plain = finetuning.training_step

    def terminate_at_two(trainer, state):
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(trainer, state)

    monkeypatch.setattr(finetuning, "training_step", terminate_at_two)
    with pytest.raises(SystemExit) as stop:
        run(study, "warned")
    assert stop.value.code == 143
    monkeypatch.setattr(finetuning, "training_step", plain)
    assert adapter_digest(run(study, "warned")) == adapter_digest(unbroken)


def test_two_processes_train_what_one_does(study, in_float32):
    made, wanted = in_float32
    line = command(study, "two", wanted, "--gpus", "2")
    subprocess.run(line, env=ALONE, check=True, timeout=180, capture_output=True)
    assert_trained_alike(made, paths(study, "two"))


def test_a_smaller_train_set_can_take_as_many_steps(study):
    few = spec().model_copy(update={"train_size": 8})
    assert read_json(run(study, "few", few)["training"])["planned_steps"] == 4
    held = read_json(run(study, "held", few.model_copy(update={"hold_steps": True}))["training"])
    assert held["planned_steps"] == 8 and held["train_samples"] == 8


def test_it_stops_early_and_keeps_the_best(study):
    wanted = spec(learning_rate=1.0, evaluate_every=1, patience=2, epochs=5).model_copy(update={"dtype": "float32"})
    made = run(study, "early", wanted)
    summary = read_json(made["training"])
    assert summary["stopped_early"] and summary["steps"] == summary["best_step"] + 2 < summary["planned_steps"]


def test_selection_by_exact_match_decodes_greedily(study):
    wanted = spec(select_by="validation_exact_match", max_steps=3)
    wanted = wanted.model_copy(update={"max_new_tokens": 6, "labels": "icd10cm", "level": "code"})
    summary = read_json(run(study, "match", wanted)["training"])
    assert 0 <= summary["best_validation_exact_match"] <= 1


def test_sets_are_learned_as_lists_and_selected_by_micro_f1(study, tmp_path):
    for name in ("train", "validation"):
        rows = pd.read_parquet(study / f"{name}.parquet")
        rows["labels"] = [sorted({label, "I10"}) if place % 4 else [] for place, label in enumerate(rows["label"])]
        rows.to_parquet(tmp_path / f"{name}.parquet")
    wanted = spec(select_by="validation_micro_f1", epochs=5)
    prompt = wanted.prompt.model_copy(update={"several": AnswerSet(order="code", empty=True)})
    wanted = wanted.model_copy(
        update={"prompt": prompt, "max_new_tokens": 12, "labels": "icd10cm", "level": "code", "dtype": "float32"}
    )
    where = paths(study, "sets") | {name: tmp_path / f"{name}.parquet" for name in ("train", "validation")}
    finetune(FinetuneJob(spec=wanted, arm="slm/tiny", device="cpu", **where))
    summary = read_json(where["training"])
    scores = [each["validation_micro_f1"] for each in summary["evaluations"]]
    assert summary["best_validation_micro_f1"] == max(scores) > 0  # it says I10 of many, or it learned nothing
    assert summary["best_validation_exact_match"] is None


def test_scores_of_answers_are_over_sets_and_pairs():
    pairs = [({"a", "b"}, {"a", "b"}), ({"a"}, {"a", "c"}), ({"b"}, None), (set(), set())]
    assert share_equal(pairs) == 0.5
    assert micro_f1(pairs) == pytest.approx(2 * 3 / (4 + 4))
    assert micro_f1([(set(), None)]) == 0


def test_tensorboard_files_are_an_option(study):
    pytest.importorskip("tensorboard")
    run(study, "board", spec(max_steps=2), tensorboard=study / "board_files")
    assert list((study / "board_files").glob("events.*"))


def trainer_of(samples, **recipe):
    model = tiny_model("llama")
    wanted = Finetune(batch_size=4, lora=Lora(r=4, alpha=8, dropout=0.1), **recipe)
    shared = lora.add_adapters(model, wanted.lora, 4, 8, seed=3)
    path, _ = forward_paths.choose(model, random_samples(3), 64, on_gpu=False)
    return Trainer(
        model=model,
        path=path,
        dropout=shared,
        optimizer=finetuning.make_optimizer(model, wanted, torch.device("cpu")),
        recipe=wanted,
        seed=0,
        samples=samples,
        validation=samples,
        workers=Workers(0, 1, torch.device("cpu")),
        token_budget=64,
        steps=10,
    )


@pytest.mark.parametrize("deterministic", [True, False])
def test_another_attempt_packs_smaller_unless_the_bytes_must_be_the_same(deterministic):
    trainer = trainer_of(random_samples(4))
    trainer.recipe = trainer.recipe.model_copy(update={"deterministic": deterministic})
    jobs = [SimpleNamespace(token_budget=512, memory_gb=None, attempt=attempt) for attempt in (1, 2)]
    first, second = (find_token_budget(trainer, job) for job in jobs)
    assert second == (first if deterministic else first // 2)


def test_validation_answers_are_greedy_whatever_the_models_own_settings_say():
    trainer = trainer_of(random_samples(4))
    model, prompts = trainer.model.eval(), [sample.prompt for sample in trainer.samples]
    model.set_attn_implementation("sdpa")
    tokenizer = byte_tokenizer()
    plain = finetuning.answer_greedily(model, tokenizer, prompts, 6, [2])
    model.generation_config.repetition_penalty = 9.0
    model.generation_config.do_sample = True
    assert finetuning.answer_greedily(model, tokenizer, prompts, 6, [2]) == plain


def test_a_loss_that_is_no_number_stops_with_the_samples_id():
    trainer = trainer_of(random_samples(4))
    bad = trainer.samples[2]
    plain = trainer.path.logits

    def poisoned(packed):
        logits = plain(packed)
        at = [index for index, name in enumerate(packed.sample_ids) if name == bad.sample_id]
        return torch.where(torch.isin(packed.owner, torch.tensor(at))[:, None], float("nan"), logits)

    trainer.path = dataclasses.replace(trainer.path, logits=poisoned)
    with pytest.raises(StudyError, match=rf"loss is not a finite number for sample {bad.sample_id};"):
        finetuning.training_step(trainer, State())


def test_out_of_memory_lowers_the_budget_and_loses_nothing():
    samples = random_samples(4)
    wanted = float(finetuning.accumulate_gradients(trainer_of(samples), samples, 0).total)
    trainer = trainer_of(samples)
    plain, tried = trainer.path.logits, []

    def small(packed):
        tried.append(packed.input_ids.shape[1])
        if packed.input_ids.shape[1] > 40:
            raise torch.cuda.OutOfMemoryError
        return plain(packed)

    trainer.path = dataclasses.replace(trainer.path, logits=small)
    assert float(finetuning.accumulate_gradients(trainer, samples, 0).total) == pytest.approx(wanted, rel=1e-5)
    assert trainer.token_budget < 64 and max(tried) > 40


def test_on_a_gpu_a_small_budget_rather_recomputes_than_shrinks(monkeypatch):
    samples = random_samples(4)
    trainer = trainer_of(samples)
    trainer.workers = dataclasses.replace(trainer.workers, device=torch.device("cuda:0"))
    monkeypatch.setattr("slingshot.training.token_budget.release_memory", lambda device: None)

    def probed(trainer, longest, least):
        trainer.recomputed = least
        return 7_000

    monkeypatch.setattr("slingshot.training.token_budget.probe_budget", probed)
    trainer.budget_is_free, trainer.token_budget = True, 20_000
    assert shrink_budget(trainer, samples) == 15_000 and trainer.recomputed == 0
    trainer.token_budget = 8_000  # less of it is worth less than recomputing a tenth
    assert shrink_budget(trainer, samples) == 7_000 and trainer.recomputed == 0.1
    trainer.token_budget = 8_000
    assert shrink_budget(trainer, samples) == 6_000 and trainer.recomputed == 0.1
    trainer.token_budget = 5_000
    assert shrink_budget(trainer, samples) == 7_000 and trainer.recomputed == 1
    trainer.token_budget = 5_000
    assert shrink_budget(trainer, samples) == 3_750 and trainer.recomputed == 1
    trainer.budget_is_free, trainer.token_budget, trainer.recomputed = False, 2_048, 0
    assert shrink_budget(trainer, samples) == 1_536 and trainer.recomputed == 0  # set, or an attempt's


@pytest.mark.parametrize(
    ("bound", "asked"), [({}, [12]), ({12}, [12, 48]), ({12, 48}, [12, 48])], ids=["large", "fills up", "small"]
)
def test_whether_launches_dominate_is_asked_of_few_tokens_first(monkeypatch, bound, asked):
    samples = [Sample(str(at), (5,) * 11, (6,), False) for at in range(4)]
    trainer = trainer_of(samples)
    trainer.workers = dataclasses.replace(trainer.workers, device=torch.device("cuda:0"))
    trainer.path = dataclasses.replace(trainer.path, multiple_of=16)
    stepped = []
    monkeypatch.setattr(token_budget, "probe_step", lambda trainer, tokens: stepped.append(tokens))
    monkeypatch.setattr(token_budget, "is_launch_bound", lambda work, wait: stepped[-1] in bound)
    graphs = token_budget.graphs_where_launches_dominate(trainer)
    assert stepped == asked and (graphs is not None) == (bound == set(asked))


def test_not_even_one_sample_is_an_error_that_says_what_to_do():
    samples = random_samples(4)
    trainer = trainer_of(samples)

    def never(packed):
        raise torch.cuda.OutOfMemoryError

    trainer.path = dataclasses.replace(trainer.path, logits=never)
    with pytest.raises(StudyError, match=r"out of memory with one sample.*nf4"):
        finetuning.accumulate_gradients(trainer, samples, 0)


def test_the_rate_rises_falls_and_ends_at_zero():
    recipe = Finetune(learning_rate=1.0, warmup_share=0.1)
    rates = [schedule.learning_rate(step, 100, recipe) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[10] == 1 and rates[100] == pytest.approx(0, abs=1e-9)
    linear = recipe.model_copy(update={"schedule": "linear"})
    assert schedule.learning_rate(55, 100, linear) == pytest.approx(0.5)


def test_an_epoch_shows_each_sample_once():
    trainer = trainer_of(random_samples(10))
    shown = [sample.sample_id for step in range(3) for sample in schedule.batch_of(trainer, step)[1]]
    assert sorted(shown) == sorted(sample.sample_id for sample in trainer.samples)
    assert schedule.planned_steps(10, trainer.recipe) == 9


def test_rank_by_size():
    recipe = Finetune(lora=Lora(r="auto", alpha="auto"))
    assert [finetuning.rank_and_alpha(recipe, size) for size in (135_000_000, 1_500_000_000, 3_200_000_000)] == [
        *((16, 32), (32, 64), (64, 128))
    ]


def test_a_larger_choice_holds_a_smaller_one():
    rows = pd.DataFrame({"sample_id": [f"s{index}" for index in range(50)]})
    small, large = (training_samples.chosen_by_hash(rows, count)["sample_id"].tolist() for count in (10, 20))
    assert set(small) < set(large) and large == sorted(large, key=lambda name: int(name[1:]))
    assert json.dumps(small) == json.dumps(training_samples.chosen_by_hash(rows, 10)["sample_id"].tolist())


def test_samples_fit_the_models_own_context(study):
    splits = [paths(study, "context")[name] for name in ("train", "validation")]
    free, _, _ = training_samples.read_samples(spec(), byte_tokenizer("chatml"), *splits)
    longest = training_samples.longest_of(free)
    held, _, _ = training_samples.read_samples(spec(), byte_tokenizer("chatml"), *splits, context=longest - 5)
    assert training_samples.longest_of(held) <= longest - 5
    assert sum(sample.truncated for sample in held) > sum(sample.truncated for sample in free)
    with pytest.raises(StudyError, match="longer context"):
        training_samples.read_samples(spec(), byte_tokenizer("chatml"), *splits, context=16)
