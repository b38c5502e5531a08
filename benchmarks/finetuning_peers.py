"""A naive loop, TRL's SFTTrainer and Unsloth on the samples' lengths; part of finetuning.py."""

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
# Each in a process of its own: Unsloth changes transformers and TRL while it is imported. What: batch, dropout,
# checkpointing, further settings.
UNSLOTH: dict[str, tuple[str, int, float, Any, dict[str, Any]]] = {
    "unsloth": ("by length, no checkpointing, batch 12, dropout 0.1", 12, 0.1, False, {}),
    "unsloth_no_dropout": ("by length, no checkpointing, batch 16, dropout 0", 16, 0.0, False, {}),
    "unsloth_checkpointing": (
        *("padding-free, its own checkpointing, batch 8, dropout 0", 8, 0.0, "unsloth", {"padding_free": True}),
    ),
}
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
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
        processing_class=as_tokenizer(),
        callbacks=[clock],
    )
    return train_and_count(trainer, clock, warm, name, PEERS[name], given, steps=steps, batch=batch)


def measure_unsloth(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Unsloth's model in TRL's SFTTrainer on the same lengths, loss on the completion only, 4 steps that warm up."""
    from unsloth import FastLanguageModel  # before transformers and TRL

    # isort: split
    import datasets
    import torch
    from trl import SFTConfig, SFTTrainer

    what, batch, dropout, checkpointing, options = UNSLOTH[name]
    steps, warm = given.steps or (8 if given.size == "3b" else 2), 4
    folder = given.work / f"unsloth-{given.size}"
    random_model(given).save_pretrained(folder)
    as_tokenizer().save_pretrained(folder)
    model, tokenizer = FastLanguageModel.from_pretrained(
        str(folder), max_seq_length=2048, dtype=torch.bfloat16, load_in_4bit=False
    )
    model = FastLanguageModel.get_peft_model(
        *(model, RANK),
        lora_alpha=ALPHA,
        lora_dropout=dropout,
        bias="none",
        target_modules=PROJECTIONS,
        use_gradient_checkpointing=checkpointing,
        random_state=0,
    )
    clock = make_clock(warm, given.device)
    sizes = draw_lengths(batch * (steps + warm) * 8, given)
    data = datasets.Dataset.from_dict(
        {
            "input_ids": [[(7 * at) % 500 + 1 for at in range(size + COMPLETION)] for size in sizes],
            "attention_mask": [[1] * (size + COMPLETION) for size in sizes],
            "labels": [[-100] * size + [5] * COMPLETION for size in sizes],
        }
    )
    settings = SFTConfig(
        output_dir=str(given.out / name),
        per_device_train_batch_size=batch,
        max_steps=steps + warm,
        max_length=None if "padding_free" in options else 2048,  # all samples are shorter
        bf16=True,
        optim="adamw_torch_fused" if given.device == "cuda" else "adamw_torch",
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        use_cpu=given.device == "cpu",
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        **(options or group_by_length(SFTConfig)),
    )
    trainer = SFTTrainer(model=model, args=settings, train_dataset=data, processing_class=tokenizer, callbacks=[clock])
    return train_and_count(trainer, clock, warm, name, f"Unsloth, {what}", given, steps=steps, batch=batch)


def train_and_count(
    trainer: Any, clock: Any, warm: int, name: str, what: str, given: argparse.Namespace, **more: Any
) -> dict[str, Any]:
    """The row of a Trainer's steps after `warm` of them; tokens are counted where batches are collated."""
    collate = trainer.data_collator

    def collate_and_count(rows: list[dict[str, Any]]) -> Any:
        clock.tokens += sum(len(row["input_ids"]) for row in rows)
        return collate(rows)

    trainer.data_collator = collate_and_count
    trainer.train()
    # batches are collated one ahead of the step, so a step's tokens are taken as the mean over all
    (start, before), (end, after) = clock.seen[warm - 1], clock.seen[-1]
    return make_row(name, what, after - before, end - start, given.device, **more)


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


def as_tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2, "x": 3}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
