"""A naive loop and TRL's SFTTrainer on the samples' lengths; part of finetuning.py."""

from __future__ import annotations

import argparse
from typing import Any

from random_training import ALPHA, COMPLETION, CONFIGS, RANK, draw_lengths, make_row, random_model, read_clock

PEERS = {
    "trl_varlen": "TRL, padding-free, varlen attention registered, batch 8",
    "trl_best": "TRL, by length, no checkpointing, cuDNN attention off, batch 6",
    "trl_best_cudnn": "the same with cuDNN attention on, as torch has it",
    "trl_default": "TRL as it comes (checkpointing on), cuDNN attention off, batch 8",
    "trl_default_cudnn": "the same with cuDNN attention on, as torch has it",
}
NAIVE = "naive loop: transformers and peft, padded batches of 8, loss on all tokens"


def measure_naive(given: argparse.Namespace) -> dict[str, Any]:
    """What one writes first; for a CPU (--size demo), where TRL and a GPU's tricks are out of place."""
    import torch
    from peft import LoraConfig, get_peft_model

    steps, batch = given.steps or 6, 8
    adapter = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.1, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(random_model(given), adapter).train()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=2e-4)
    sizes = [size + COMPLETION for size in draw_lengths(batch * 64, given)]

    def step(at: int) -> int:
        mine = sizes[at * batch : (at + 1) * batch]
        real = torch.arange(max(mine))[None] < torch.tensor(mine)[:, None]
        ids = torch.randint(3, CONFIGS[given.size]["vocab_size"], real.shape).to(given.device)
        mask = real.to(given.device)
        model(input_ids=ids, attention_mask=mask.long(), labels=ids.masked_fill(~mask, -100)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return sum(mine)

    step(0)
    start = read_clock(given.device)
    tokens = sum(step(at + 1) for at in range(steps))
    return make_row("naive", NAIVE, tokens, read_clock(given.device) - start, given.device)


# ---------------------------------------------------------------- TRL


def measure_trl(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """TRL's SFTTrainer with peft on the same lengths; loss on the completion only, as its users would."""
    import torch
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerFast
    from trl import SFTTrainer

    from slingshot.nn.packed_attention import use_packed_attention

    batch, steps = (8, given.steps or 4) if given.size == "3b" else (2, 2)
    if name.startswith("trl_best"):
        batch = 6 if given.size == "3b" else 2
    if given.device == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(name.endswith("cudnn"))  # on, it plans again for every shape
        torch.cuda.reset_peak_memory_stats()
    warm = 4 if name.startswith("trl_best") else 3
    model = random_model(given)
    if name == "trl_varlen":
        use_packed_attention(model)
    clock = make_clock(warm, given.device)
    adapter = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.1, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        model=model,
        args=settings_of(name, batch, steps + warm, given),
        train_dataset=make_data(batch * (steps + warm) * 8, given),
        peft_config=adapter,
        processing_class=PreTrainedTokenizerFast(
            tokenizer_object=make_tokenizer(), pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
        ),
        callbacks=[clock],
    )
    collate = trainer.data_collator

    def collate_and_count(rows: list[dict[str, Any]]) -> Any:
        clock.tokens += sum(len(row["input_ids"]) for row in rows)
        return collate(rows)

    trainer.data_collator = collate_and_count
    trainer.train()
    # batches are collated one ahead of the step, so a step's tokens are taken as the mean over all
    (start, before), (end, after) = clock.seen[warm - 1], clock.seen[-1]
    return make_row(name, PEERS[name], after - before, end - start, given.device, steps=steps, batch=batch)


def make_clock(warm: int, device: str) -> Any:
    """A callback that keeps the time and the tokens at each step's end; the peak counts from step `warm` on."""
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.seen: list[tuple[float, int]] = []
            self.tokens = 0

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seen.append((read_clock(device), self.tokens))
            if len(self.seen) == warm and device == "cuda":
                torch.cuda.reset_peak_memory_stats()

    return Clock()


def make_data(count: int, given: argparse.Namespace) -> Any:
    import datasets

    sizes = draw_lengths(count, given)
    return datasets.Dataset.from_dict(
        {
            "input_ids": [[(7 * at) % 500 + 1 for at in range(size + COMPLETION)] for size in sizes],
            "completion_mask": [[0] * size + [1] * COMPLETION for size in sizes],
        }
    )


def settings_of(name: str, batch: int, steps: int, given: argparse.Namespace) -> Any:
    from trl import SFTConfig

    options: dict[str, Any] = {}
    if name.startswith("trl_best"):
        options = {"gradient_checkpointing": False, **group_by_length(SFTConfig)}
    elif name == "trl_varlen":
        options = {"gradient_checkpointing": False, "padding_free": True}
    return SFTConfig(
        output_dir=str(given.out / "trl"),
        per_device_train_batch_size=batch,
        max_steps=steps,
        max_length=None if name == "trl_varlen" else 2048,
        completion_only_loss=True,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        use_cpu=given.device == "cpu",
        **options,
    )


def group_by_length(config: Any) -> dict[str, Any]:
    """How this version of transformers is asked to group samples by length."""
    import dataclasses

    names = {field.name for field in dataclasses.fields(config)}
    return (
        {"train_sampling_strategy": "group_by_length"}
        if "train_sampling_strategy" in names
        else {"group_by_length": True}
    )


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2, "x": 3}, unk_token="<unk>"))
