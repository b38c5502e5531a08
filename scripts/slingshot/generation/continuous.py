"""Long free answers: what ends early leaves its place in the pool to the next dialogue.

Prompts run longest first, so that a place which is left is large enough for every prompt that still waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from slingshot.generation.decode import advance_with, greedy, idle_rows, start_rows
from slingshot.generation.engine import Engine, Layout, Network, Sizes, make_engine
from slingshot.generation.prefill import prefill

LONG = 64  # new tokens from which on places are passed on; shorter answers end together, group by group

_STEPS_AT_ONCE = 8  # decoding steps between two looks at what is done, each of which waits for the device

_REFILLED_SHARE = 8  # one in N places must be free before a prefill interrupts the decoding


@torch.inference_mode()
def decode_continuously(
    network: Network,
    prompts: Sequence[Sequence[int]],
    which: Sequence[int],
    shared: int,
    steps: int,
    end_ids: Sequence[int],
    sizes: Sizes,
) -> Iterator[tuple[Engine, dict[int, list[int]]]]:
    """Answer the prompts `which`; yields index to new ids, the end included, as answers end.

    Args:
        shared: tokens that all prompts begin with.
        steps: new tokens per prompt, at most.
    """
    waiting = sorted(which, key=lambda index: (-len(prompts[index]), index))
    starts: list[int] = []  # of each place
    end = 1
    while len(starts) < min(len(waiting), sizes.most_prompts):
        need = len(prompts[waiting[len(starts)]]) + steps
        if starts and end + need > sizes.pool_rows + 1:
            break
        starts.append(end)
        end += need
    longest = len(prompts[waiting[0]]) + steps
    engine = make_engine(network, end - 1, len(starts), steps, sizes.row_tokens, longest)
    choose = greedy(end_ids, engine.rows)
    advance = advance_with(engine, choose, "free", steps)
    engine.rows.done.fill_(True)
    holder: list[int | None] = [None] * len(starts)  # the prompt in each place
    free = list(range(len(starts)))
    while waiting or len(free) < len(starts):
        if waiting and (len(free) * _REFILLED_SHARE >= len(starts) or len(free) == len(starts)):
            taken, free = free[: len(waiting)], free[len(waiting) :]
            now, waiting = waiting[: len(taken)], waiting[len(taken) :]
            layout = Layout([prompts[index] for index in now], shared, [starts[place] for place in taken])
            start_rows(engine, layout, taken, choose(prefill(engine, layout)))
            for place, index in zip(taken, now, strict=True):
                holder[place] = index
        for _ in range(_STEPS_AT_ONCE):
            advance()
        done = engine.rows.done.tolist()
        ended = [place for place, index in enumerate(holder) if index is not None and done[place]]
        if ended:
            counts = engine.rows.at.tolist()
            ids = engine.rows.out[torch.tensor(ended, device=network.device)].tolist()
            found = {holder[place]: row[: counts[place]] for place, row in zip(ended, ids, strict=True)}
            for place in ended:
                holder[place] = None
            idle_rows(engine, ended)
            free = sorted([*free, *ended])
            yield engine, {index: row for index, row in found.items() if index is not None}
