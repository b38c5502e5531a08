"""Which way each family of language models takes here, and how far it is from transformers' own: docs/families.md.

    python benchmarks/families.py --out docs/families.md            # all that can be built tiny, some minutes
    python benchmarks/families.py --families llama gpt_oss lfm2     # to the screen

Each is a tiny random network on a processor, in float32. Trained: loss and gradient of three samples by the way that
a finetune takes, held against the network's own forward, one sample at a time, with the same adapters and dropout.
Answered: six prompts by the way that predict takes, held against transformers' `generate`, one prompt at a time.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import torch  # noqa: E402
from torch import nn  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel  # noqa: E402
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES  # noqa: E402

from slingshot.config.recipe import Lora  # noqa: E402
from slingshot.core.errors import StudyError  # noqa: E402
from slingshot.generation.generate import generate  # noqa: E402
from slingshot.generation.types import Decoding, GenerationStats, Memory, until_end  # noqa: E402
from slingshot.nn import lora  # noqa: E402
from slingshot.nn.packed_attention import attending_by  # noqa: E402
from slingshot.training import forward_paths  # noqa: E402
from slingshot.training.batches import Packed, Sample, pack  # noqa: E402
from slingshot.training.loss import completion_tokens, token_losses  # noqa: E402

VOCABULARY, END, LONGEST = 97, 2, 60
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": END,
}
WINDOWS = {"sliding_window": 11, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
EXPERTS = {"moe_intermediate_size": 24, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4}
EXPERTS |= {"num_experts_per_tok": 2}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}
LATENT |= {"head_dim": 8, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "num_key_value_heads": 4}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_expand": 2}

# What a family needs besides, to be built tiny and to show what is peculiar to it.
CHANGED: dict[str, dict[str, Any]] = {
    "bamba": {**MAMBA, "attn_layer_indices": [1]},
    "bloom": {"n_layer": 3, "n_head": 4},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"head_dim": 8, "logit_scale": 0.25, **WINDOWS},
    "deepseek_v2": {**LATENT, **EXPERTS},
    "deepseek_v3": {**LATENT, **EXPERTS},
    "falcon_h1": {**MAMBA, "mamba_d_ssm": 64},
    "gemma2": {"head_dim": 8, **WINDOWS, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    "gemma3_text": {"head_dim": 8, **WINDOWS},
    "gptj": {"rotary_dim": 4},
    "gpt_oss": {"head_dim": 8, **WINDOWS, **EXPERTS},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4},
    "granite": {"logits_scaling": 4.0},
    "granitemoe": {"logits_scaling": 4.0, **EXPERTS},
    "granitemoehybrid": {**MAMBA, **EXPERTS, "layer_types": ["mamba", "attention", "mamba"], "logits_scaling": 4.0},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "num_experts": 2},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"], "block_multiple_of": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"], **EXPERTS, "num_dense_layers": 1},
    "llama4_text": {"head_dim": 8, "intermediate_size_mlp": 48, **EXPERTS},
    "mimo_v2_flash": {"head_dim": 8, "v_head_dim": 8, "swa_head_dim": 8, "swa_v_head_dim": 8, **WINDOWS, **EXPERTS},
    "mistral": {"sliding_window": 11},
    "mixtral": EXPERTS,
    "olmoe": EXPERTS,
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.1},
    "phi3": {"sliding_window": 13},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 24},
    "qwen3": {"head_dim": 8},
    "qwen3_moe": {"head_dim": 8, **EXPERTS},
    "qwen3_next": {
        **{"head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8},
        **{"linear_value_head_dim": 8, "shared_expert_intermediate_size": 24, **EXPERTS},
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    },
    "recurrent_gemma": {"head_dim": 8, "attention_window_size": 16, "lru_width": 32},
    "seed_oss": {"head_dim": 8, "attention_dropout": 0.1},
}

LARGEST = 20_000_000  # weights of a network that counts as tiny


@dataclass
class Row:
    """A family's row: the ways it takes, how far they are from transformers' own, and what is said about it."""

    family: str
    trained: str = "-"
    loss_away: float | None = None
    gradient_away: float | None = None
    adapted: float | None = None
    answered: str = "-"
    equal: int | None = None
    asked: int | None = None
    notes: str = ""

    @property
    def holds(self) -> bool:
        """Whether what it trains and says is what transformers' own forward does."""
        right = self.loss_away is not None and self.loss_away < 1e-3 and (self.gradient_away or 0) < 1e-2
        return right and self.equal == self.asked


def tiny_model(family: str, dtype: torch.dtype = torch.float32, **changed: Any) -> PreTrainedModel:
    """A tiny random network of the family; larger weights than a fresh one's, so that answers differ by prompt."""
    torch.manual_seed(5)
    config = AutoConfig.for_model(family, **{**SHAPE, **CHANGED.get(family, {}), **changed})
    with torch.device("meta"):  # some families have parts of their own shape, of billions of weights
        weights = AutoModelForCausalLM.from_config(config).num_parameters()
    if weights > LARGEST:
        raise ValueError(f"{family} is not tiny: {weights:,} weights")
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0, 1.0)
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0, 0.2)
        for weight in model.parameters():
            if weight.ndim == 3 and min(weight.shape) > 1:  # experts, side by side
                weight.normal_(0, 0.2)
    return model.to(dtype).eval()


def samples(count: int = 3) -> list[Sample]:
    draw = random.Random(0)

    def some(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, VOCABULARY) for _ in range(draw.randint(least, most)))

    return [Sample(f"sample{index}", some(14, 40), some(2, 6), False) for index in range(count)]


def trained(row: Row) -> None:
    """Fill in a row: which way a finetune takes, and how far its loss and gradient are from the network's own."""
    model = tiny_model(row.family)
    shared = lora.add_adapters(model, Lora(r=4, alpha=8, dropout=0.2), 4, 8, seed=3)
    row.adapted = lora.adapted_share(model)
    torch.manual_seed(0)
    for _, layer in lora.adapters(model):
        layer.lora_B.data.normal_(0, 0.1)
    path, notes = forward_paths.choose(model, samples(), LONGEST, on_gpu=False)
    packing = [note for note in notes if note.startswith("finetuned without packing")]
    row.trained = "one at a time" if packing else "packed"
    row.notes = "; ".join(note.removeprefix(f"finetuned without packing: {type(model).__name__}: ") for note in notes)
    packed = pack(samples(), seed=1, epoch=0)

    def loss_and_gradient(logits: Any) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        shared.set_rows(packed.row_keys)
        loss = token_losses(logits(packed), packed.targets).sum() / completion_tokens(samples())
        loss.backward()
        parts = [layer.lora_B.grad for _, layer in lora.adapters(model)]
        return loss.item(), torch.cat([part.flatten() for part in parts if part is not None])

    def alone(batch: Packed) -> torch.Tensor:
        return forward_paths.one_by_one_logits(model, batch)

    ours, gradient = loss_and_gradient(path.logits)
    with attending_by(model, path.own_attention):
        own, own_gradient = loss_and_gradient(alone)
    row.loss_away = abs(ours - own) / abs(own)
    row.gradient_away = float((gradient - own_gradient).norm() / own_gradient.norm())


def answered(row: Row, steps: int = 6) -> None:
    """Fill in a row: which way predict takes, and how many answers are those of `generate` one at a time."""
    draw = random.Random(3)
    prompts = [[draw.randrange(3, VOCABULARY) for _ in range(draw.randrange(8, 50))] for _ in range(6)]
    expected = one_at_a_time(tiny_model(row.family), prompts, steps)
    stats, found = GenerationStats(), {}
    for group in generate(tiny_model(row.family), prompts, Decoding(steps, (END,)), Memory(), stats):
        found.update(group)
    row.equal = sum(found[index].ids == ids for index, ids in enumerate(expected))
    row.asked = len(prompts)
    row.answered = "padded" if any("padded way" in note for note in stats.notes) else "packed"


@torch.inference_mode()
def one_at_a_time(model: PreTrainedModel, prompts: Sequence[Sequence[int]], steps: int) -> list[list[int]]:
    settings = GenerationConfig(max_new_tokens=steps, do_sample=False, eos_token_id=END, pad_token_id=0)
    answers = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)])
        network: Any = model
        out = network.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        answers.append(until_end(out[0, len(prompt) :].tolist(), (END,))[0])
    return answers


def row_of(family: str) -> Row | None:
    """The family's row; None where no tiny network of it can be built, or be asked by `generate`."""
    row = Row(family)
    try:
        model = tiny_model(family)
        one_at_a_time(model, [[5, 6, 7]], 2)
    except Exception as error:  # a family may ask for anything
        logging.info("%s: %s", family, error)
        return None
    if sum(weight.numel() for weight in model.parameters()) > 3_000_000:
        return None  # its config has other names for sizes: not tiny
    if not is_causal(model):
        return None  # an encoder, which answers nothing
    for part in (trained, answered):
        try:
            part(row)
        except StudyError as error:
            row.notes += f"not {part.__name__}: {error}"
        except Exception as error:
            row.notes += f" FAILED {part.__name__}: {type(error).__name__}: {str(error)[:200]}"
    return row


@torch.inference_mode()
def is_causal(model: PreTrainedModel) -> bool:
    """Whether a token leaves what stands before it alone."""
    one, other = (model(torch.tensor([[5, 6, 7, last]]), use_cache=False).logits[0, :3] for last in (8, 9))
    return bool(torch.allclose(one, other, atol=1e-4))


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"over {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def table(rows: Sequence[Row]) -> str:
    """A page of Markdown."""
    import transformers

    lines = [
        "# Families of models",
        "",
        "Made by `python benchmarks/families.py --families NAME ... --out docs/families.md` "
        f"(torch {torch.__version__}, transformers",
        f"{transformers.__version__}, a processor, float32, tiny random networks).",
        "Trained: the way that a finetune takes, and how far loss and gradient are from the network's own forward, one",
        "sample at a time. Answered: the way that predict takes, and how many of six answers are those of `generate`,",
        "one prompt at a time. Adapted: the share of the layers' weights that `all-linear` reaches.",
        "",
        "| family | trained | loss off by | gradient off by | adapted | answered | equal | notes |",
        "| --- | --- | ---: | ---: | ---: | --- | ---: | --- |",
    ]
    for row in rows:
        numbers = ["-" if value is None else f"{value:.0e}" for value in (row.loss_away, row.gradient_away)]
        share = "-" if row.adapted is None else f"{row.adapted:.0%}"
        equal = "-" if row.equal is None else f"{row.equal} of {row.asked}"
        notes = row.notes.replace("|", "/").replace("\n", " ").strip()
        lines.append(
            f"| {row.family} | {row.trained} | {' | '.join(numbers)} | {share} | {row.answered} | {equal} | {notes} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
    parser.add_argument("--out", type=Path, help="a Markdown page; default: the screen")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rows = []
    for family in options.families:
        try:
            with time_limit(60):
                row = row_of(family)
        except TimeoutError as error:
            row = Row(family, notes=f"FAILED: {error}")
        print(f"{family}: {row or 'not built'}", file=sys.stderr, flush=True)
        if row is not None:
            rows.append(row)
    page = table(rows)
    if options.out:
        options.out.write_text(page, encoding="utf-8")
    else:
        print(page)


if __name__ == "__main__":
    main()
