"""How many answers depend on what they were computed with: other prompts beside them, padding, rows of other length.

    python benchmarks/batch_shapes.py --model FOLDER --split test.parquet --samples 1000 --dtype float32

Greedy answers of real weights, the same prompts in several batch shapes; each pair is compared answer by answer. In
exact arithmetic none would differ: what differs had two tokens of nearly one probability.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of weights and tokenizer")
    parser.add_argument("--split", type=Path, required=True, help="Parquet with a column text")
    parser.add_argument("--prompt", type=Path, default=ROOT / "studies/demo/prompts/icd10cm.yaml")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--alone", type=int, default=50, help="samples also answered one at a time by generate")
    parser.add_argument("--padded", type=int, default=1000, help="samples that are also answered in padded batches")
    parser.add_argument("--new-tokens", type=int, default=12)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    print(json.dumps(measure(parser.parse_args()), indent=1))


def measure(options: argparse.Namespace) -> dict[str, Any]:
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
    texts = pyarrow.parquet.read_table(options.split)["text"].to_pylist()[: options.samples]
    prompts = [prompter.prompt(text).ids for text in texts]
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, options.dtype))
    model = model.to(options.device).eval()
    decoding = Decoding(options.new_tokens, tuple(prompter.end_ids))

    def answer(way: Any, budget: int | None, which: range) -> dict[int, list[int]]:
        start, found, report = time.perf_counter(), {}, GenerationStats()
        for group in way(model, [prompts[index] for index in which], decoding, Memory(budget), report):
            found.update({which[position]: one.ids for position, one in group.items()})
        seconds[len(seconds)] = round(time.perf_counter() - start, 1)
        return found

    seconds: dict[int, float] = {}
    everything = range(len(prompts))
    shapes = {
        "packed, rows of 2,048 tokens": answer(generate, 2048, everything),
        "packed, rows of 256 tokens, in reverse": answer(generate, 256, everything[::-1]),
        "padded, sorted, 4,096 tokens": answer(generate_padded, 4096, range(min(options.padded, len(prompts)))),
        "generate, one at a time": answer(generate_padded, 1, range(min(options.alone, len(prompts)))),
    }
    result: dict[str, Any] = {"samples": len(prompts), "dtype": options.dtype, "torch": torch.__version__}
    result["seconds"] = dict(zip(shapes, seconds.values(), strict=True))
    for one, other in itertools.combinations(shapes, 2):
        common = sorted(set(shapes[one]) & set(shapes[other]))
        different = sum(shapes[one][index] != shapes[other][index] for index in common)
        result[f"{one} | {other}"] = f"{different} of {len(common)} differ"
    return result


if __name__ == "__main__":
    main()
