"""A micro-batch's forward and backward pass as one CUDA graph, for networks so small that launching kernels takes
most of the time.

A graph has fixed shapes, and micro-batches do not: each is padded to a bucket of tokens (at most an eighth more),
sequences and scored tokens. The padding is sequences of their own that no sample sees and a loss that counts nothing,
so that the result is the plain way's but for rounding; dropout is a hash of keys that the graph reads as an input. One
graph per bucket is captured, all in one pool of memory, and a replay in each of its first two steps is held against the
plain way. What cannot be captured or disagrees runs the plain way, with a note.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slingshot.models.device_memory import to_device
from slingshot.nn.lora import Dropout
from slingshot.training.batches import ForwardPath, Packed
from slingshot.training.loss import add_gradients, token_losses

log = logging.getLogger(__name__)

LAUNCH_BOUND = 0.8  # share of a micro-batch's time: where launching takes longer, the device waits for the host

MOST_GRAPHS = 24  # buckets; the rest runs the plain way

CHECKED_REPLAYS = 2  # of each graph, in two optimizer steps: the second reads weights that the first step changed
MOST_APART = 0.1  # share of the gradients' norm; bfloat16 rounds otherwise in other shapes

_SEQUENCES, _SCORED = 8, 64  # what their numbers are rounded up to


class GraphShape(NamedTuple):
    """The fixed shape of a graph."""

    tokens: int
    sequences: int
    scored: int


def shape_for(packed: Packed, longest: int, multiple_of: int) -> GraphShape:
    """The smallest bucket that holds a micro-batch and its padding.

    Args:
        longest: no sequence may be longer, the padding's own included.
        multiple_of: tokens that a micro-batch is filled up to.
    """
    tokens = packed.input_ids.shape[1]
    step = max(multiple_of, 1 << max(0, tokens.bit_length() - 4))  # an eighth of the power of two below
    tokens = _rounded_up(tokens, _rounded_up(step, multiple_of))
    padding = tokens - packed.real_tokens
    sequences = len(packed.sample_ids) + -(-padding // longest)
    return GraphShape(tokens, _rounded_up(sequences, _SEQUENCES), _rounded_up(len(packed.scored), _SCORED))


@dataclass(frozen=True)
class Padded:
    """A micro-batch in the shape of a bucket; the first `scored` losses are its own."""

    packed: Packed
    weights: Tensor  # (bucket.scored,) float32: what each loss counts; zero for padding
    scored: int


def pad(packed: Packed, bucket: GraphShape, longest: int, count: int) -> Padded:
    """Fill a micro-batch up to a bucket, on its own device.

    Padded tokens lie in sequences of up to `longest`, then come empty ones. What is scored beyond the samples' own is
    the last token, with weight zero.

    Args:
        count: completion tokens of the whole batch, over which the loss is the mean.
    """
    real, scored = packed.real_tokens, len(packed.scored)
    padding = bucket.tokens - real
    fillers = [min(longest, padding - start) for start in range(0, padding, longest)]
    lengths = [*packed.lengths[: len(packed.sample_ids)], *fillers]
    lengths += [0] * (bucket.sequences - len(lengths))
    device = packed.input_ids.device
    positions = torch.arange(padding, device=device) % longest
    weights = torch.zeros(bucket.scored, device=device)
    weights[:scored] = 1 / count
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    more = bucket.scored - scored
    filled = Packed(
        sample_ids=packed.sample_ids,
        lengths=tuple(lengths),
        input_ids=_extended(packed.input_ids[0, :real], padding, 0)[None],
        position_ids=torch.cat([packed.position_ids[0, :real], positions.to(packed.position_ids)])[None],
        scored=_extended(packed.scored, more, bucket.tokens - 1),
        targets=_extended(packed.targets, more, 0),
        owner=packed.owner,
        row_keys=_extended(packed.row_keys[:real], padding, 0),
        ends=to_device(ends, device),
    )
    return Padded(filled, weights, scored)


class MicroBatch:
    """Forward and backward pass of one bucket over inputs that stay in place; here as it is, in `Graph` captured."""

    def __init__(self, path: ForwardPath, dropout: Dropout, first: Padded) -> None:
        self._path, self._dropout = path, dropout
        self._inputs = Padded(_copied(first.packed), first.weights.clone(), first.scored)
        self.losses = torch.zeros_like(first.weights)  # (bucket.scored,)
        self.total = torch.zeros((), dtype=torch.float64, device=first.weights.device)

    def load(self, given: Padded) -> None:
        """Put a micro-batch of this bucket where the passes read it."""
        for name, tensor in _tensors(self._inputs.packed).items():
            tensor.copy_(getattr(given.packed, name))
        self._inputs.weights.copy_(given.weights)

    def compute(self) -> None:
        """Add this micro-batch's gradients to the parameters' own and set `losses` and `total`."""
        packed = self._inputs.packed
        self._dropout.set_rows(packed.row_keys)
        losses = token_losses(self._path.logits(packed), packed.targets)
        loss = (losses * self._inputs.weights).sum()
        loss.backward()
        self.losses.copy_(losses.detach())
        self.total.copy_(loss.detach())


def capture(batch: MicroBatch, pool: Any) -> Callable[[], None]:
    """What replays `batch.compute()` as a CUDA graph; computes it twice before, which changes gradients.

    Args:
        pool: the graphs' common memory.
    """
    before, stream = torch.cuda.current_stream(), torch.cuda.Stream()
    stream.wait_stream(before)
    with torch.cuda.stream(stream):  # compiles, and fills the libraries' workspaces, before anything is captured
        batch.compute()
        batch.compute()
    before.wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, pool=pool, stream=stream):
            batch.compute()
    finally:  # torch leaves its stream the current one where a capture fails
        torch.cuda.set_stream(before)
    return graph.replay


class StepGraphs:
    """Micro-batches by graphs, one per bucket.

    Gradients must stay where they are between steps: `reset` sets them to zero in place.
    """

    def __init__(
        self, path: ForwardPath, dropout: Dropout, parameters: Sequence[Tensor], longest: int, capture: Any = capture
    ) -> None:
        self._path, self._dropout, self._parameters = path, dropout, parameters
        self._longest, self._capture = max(longest, path.multiple_of), capture
        self._graphs: dict[GraphShape, tuple[MicroBatch, Callable[[], None]]] = {}
        self._checked: Counter[GraphShape] = Counter()
        self._checked_now: set[GraphShape] = set()  # since the gradients were last set to zero
        self._flat = torch.zeros(sum(one.numel() for one in parameters)).to(parameters[0])
        self._pool = torch.cuda.graph_pool_handle() if parameters[0].is_cuda else None
        self._failure: str | None = None

    @property
    def notes(self) -> list[str]:
        """For the record: that graphs ran, or why not."""
        if self._failure is not None:
            return [self._failure]
        return [f"micro-batches as CUDA graphs, {len(self._graphs)} shapes: launching kernels would be the time"]

    def reset(self) -> None:
        """Set all gradients to zero, in one piece of memory that graphs add to."""
        self._flat.zero_()
        self._checked_now.clear()
        for parameter, part in zip(self._parameters, self._parts(), strict=True):
            parameter.grad = part

    def run(self, packed: Packed, count: int) -> tuple[Tensor, Tensor] | None:
        """Add a micro-batch's gradients; returns its share of the loss and its losses (scored,), both the caller's.
        None where no graph can take it: the gradients are as before.
        """
        bucket = shape_for(packed, self._longest, self._path.multiple_of)
        given = pad(packed, bucket, self._longest, count)
        if bucket not in self._graphs and not self._add(bucket, given):
            return None
        batch, replay = self._graphs[bucket]
        batch.load(given)
        if self._checked[bucket] < CHECKED_REPLAYS and bucket not in self._checked_now:
            self._checked[bucket] += 1
            self._checked_now.add(bucket)
            apart = self._distance_from_plain(replay, packed, count)
            if not apart <= MOST_APART:  # a NaN, too
                self._give_up(f"their gradients are {apart:.1%} away from those without")
                return None
        replay()
        return batch.total.clone(), batch.losses[: given.scored].clone()

    def _add(self, bucket: GraphShape, given: Padded) -> bool:
        if self._failure is not None or len(self._graphs) >= MOST_GRAPHS:
            return False
        before, start = self._flat.clone(), time.perf_counter()
        batch = MicroBatch(self._path, self._dropout, given)
        try:
            self._graphs[bucket] = (batch, self._capture(batch, self._pool))
        except Exception as error:  # out of memory, an operator that waits for the device, a driver's limit
            self._give_up(f"{type(error).__name__}: {str(error)[:200]}")
            return False
        finally:
            self._flat.copy_(before)
        log.info("captured %s in %.1f s", bucket, time.perf_counter() - start)
        return True

    def _distance_from_plain(self, replay: Callable[[], None], packed: Packed, count: int) -> float:
        """How far the gradients of the micro-batch that is loaded are from the plain way's, as a share of their norm;
        the gradients are as before."""
        before, found = self._flat.clone(), []
        for compute in (replay, lambda: add_gradients(self._path, self._dropout, packed, count)):
            self._flat.zero_()
            compute()
            found.append(self._flat.clone())
        self._flat.copy_(before)
        ours, plain = found
        return float((ours - plain).norm() / plain.norm().clamp(min=1e-30))

    def _give_up(self, reason: str) -> None:
        self._graphs.clear()
        self._failure = f"finetuned without CUDA graphs: {reason}"
        log.warning("%s; slower, with the same result", self._failure)

    def _parts(self) -> list[Tensor]:
        sizes = [one.numel() for one in self._parameters]
        return [part.view_as(one) for part, one in zip(self._flat.split(sizes), self._parameters, strict=True)]


def is_launch_bound(work: Callable[[], object], wait: Callable[[], None]) -> bool:
    """Whether the device waits for the host: `work` is enqueued for most of the time until `wait` returns."""
    wait()
    start = time.perf_counter()
    work()
    enqueued = time.perf_counter() - start
    wait()
    return enqueued > LAUNCH_BOUND * (time.perf_counter() - start)


def _rounded_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _extended(values: Tensor, more: int, value: int) -> Tensor:
    return torch.cat([values, values.new_full((more,), value)])


def _tensors(packed: Packed) -> dict[str, Tensor]:
    """The tensors that a forward pass reads."""
    names = ("input_ids", "position_ids", "scored", "targets", "row_keys", "ends")
    return {name: getattr(packed, name) for name in names}


def _copied(packed: Packed) -> Packed:
    return Packed(**{**vars(packed), **{name: value.clone() for name, value in _tensors(packed).items()}})
