"""How many answers depend on what they were computed with: other prompts beside them, padding, rows of other length.

    python benchmarks/batch_shapes.py --model FOLDER --split train.parquet test.parquet --samples 1000 --dtype float32

Greedy answers of real weights, the same prompts in several batch shapes; each pair is compared answer by answer. In
exact arithmetic none would differ: what differs had two tokens of nearly one probability. Results are printed as
they come.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of weights and tokenizer")
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="Parquet with a column text")
    parser.add_argument("--prompt", type=Path, default=ROOT / "studies/demo/prompts/icd10cm.yaml")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--alone", type=int, default=50, help="samples also answered one at a time by generate")
    parser.add_argument("--padded", type=int, default=1000, help="samples that are also answered in padded batches")
    parser.add_argument("--new-tokens", type=int, default=12)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    for line in measure(parser.parse_args()):
        print(json.dumps(line), flush=True)


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from slingshot.generation.generate import generate
    from slingshot.generation.padded import generate_padded
    from slingshot.generation.types import Decoding, GenerationStats, Memory
    from slingshot.prompting.prompter import Prompter
    from slingshot.prompting.template import read_prompt

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    prompter = Prompter(tokenizer, read_prompt(options.prompt, "description code", 2048))
    tables = [pyarrow.parquet.read_table(path, columns=["text"]) for path in options.split]
    texts = pyarrow.concat_tables(tables)["text"].to_pylist()[: options.samples]
    prompts = [prompter.prompt(text).ids for text in texts]
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, options.dtype))
    model = model.to(options.device).eval()
    decoding = Decoding(options.new_tokens, tuple(prompter.end_ids))

    def answer(way: Any, budget: int, which: range) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for group in way(model, [prompts[at] for at in which], decoding, Memory(budget), GenerationStats()):
            found.update({which[position]: one.ids for position, one in group.items()})
        return found

    everything = range(len(prompts))
    shapes = {
        "packed, rows of 2,048 tokens": (generate, 2048, everything),
        "packed, rows of 256 tokens, in reverse": (generate, 256, everything[::-1]),
        "padded, sorted, 4,096 tokens": (generate_padded, 4096, everything[: options.padded]),
        "generate, one at a time": (generate_padded, 1, everything[: options.alone]),
    }
    yield {"samples": len(prompts), "dtype": options.dtype, "device": options.device, "torch": torch.__version__}
    answers: dict[str, dict[int, list[int]]] = {}
    for shape, asked in shapes.items():
        start = time.perf_counter()
        answers[shape] = answer(*asked)
        yield {"shape": shape, "samples": len(asked[-1]), "seconds": round(time.perf_counter() - start, 1)}
        for other in list(answers)[:-1]:
            common = answers[shape].keys() & answers[other].keys()
            different = sum(answers[shape][index] != answers[other][index] for index in common)
            yield {"shapes": [other, shape], "differ": different, "of": len(common)}


if __name__ == "__main__":
    main()
