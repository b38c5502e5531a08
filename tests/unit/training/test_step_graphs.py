"""Micro-batches padded to the fixed shapes of graphs give the plain way's loss and gradients.

No graph is captured here: what a graph replays is called instead, over the same inputs that stay in place.
"""

import time
from dataclasses import replace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from slingshot.config.recipe import Lora
from slingshot.nn import lora
from slingshot.nn.class_head import replace_head
from slingshot.training import batches as packing
from slingshot.training import fused_layers, step_graphs
from slingshot.training.batches import Sample
from slingshot.training.loss import completion_tokens, token_losses
from slingshot.training.step_graphs import MicroBatch, StepGraphs, is_launch_bound, pad, shape_for
from tests.unit.tiny_models import tiny_model
from tests.unit.training_inputs import random_samples

LONGEST = 35


@given(st.lists(st.integers(2, LONGEST), min_size=1, max_size=60), st.sampled_from([1, 16]))
def test_a_bucket_holds_what_is_padded_to_it_and_little_more(lengths, multiple_of):
    samples = [Sample(f"{at}", (5,) * (length - 1), (6,), False) for at, length in enumerate(lengths)]
    packed = packing.pack(samples, seed=0, epoch=0, multiple_of=multiple_of)
    tokens = packed.input_ids.shape[1]
    bucket = shape_for(packed, LONGEST, multiple_of)
    assert tokens <= bucket.tokens <= max(tokens * 9 / 8, tokens + multiple_of)
    padded = pad(packed, bucket, LONGEST, count=len(samples)).packed
    assert len(padded.lengths) == bucket.sequences and max(padded.lengths) <= LONGEST
    assert sum(padded.lengths) == bucket.tokens == padded.input_ids.shape[1] == len(padded.row_keys)
    assert padded.ends.tolist()[-1] == bucket.tokens and len(padded.ends) == bucket.sequences + 1
    assert len(padded.scored) == len(padded.targets) == bucket.scored
    assert int(padded.position_ids.max()) < LONGEST
    assert padded.lengths[: len(lengths)] == tuple(lengths)


def adapted(dropout=0.3):
    model = tiny_model("llama").double()
    shared = lora.add_adapters(model, Lora(r=4, alpha=8, dropout=dropout), 4, 8, seed=3)
    model = model.double()
    draw = torch.Generator().manual_seed(0)
    for _, layer in lora.adapters(model):
        layer.lora_B.data.normal_(0, 0.1, generator=draw)
    return fused_layers.fuse(model, longest=LONGEST, compiled=False), shared, trained(model)


def trained(model):
    return [weight for weight in model.parameters() if weight.requires_grad]


def as_it_is(batch: MicroBatch, pool):
    """In the place of `capture`: warms up, too, and so changes gradients."""
    batch.compute()
    return batch.compute


def plain(path, shared, parameters, batches, count):
    for one in parameters:
        one.grad = None
    losses = []
    for packed in batches:
        shared.set_rows(packed.row_keys)
        losses.append(token_losses(path.logits(packed), packed.targets))
        (losses[-1].sum() / count).backward()
    return [one.detach() for one in losses], [one.grad.clone() for one in parameters]


def micro_batches(epoch):
    samples = random_samples(11, seed=epoch)
    parts = [samples[:4], samples[4:8], samples[8:]]
    return [packing.pack(part, seed=1, epoch=epoch) for part in parts], completion_tokens(samples)


def test_graphs_give_the_plain_loss_and_gradients_step_after_step():
    path, shared, parameters = adapted()
    graphs = StepGraphs(path, shared, parameters, LONGEST, capture=as_it_is)
    for epoch in range(3):
        batches, count = micro_batches(epoch)
        expected, gradients = plain(path, shared, parameters, batches, count)
        graphs.reset()
        for packed, losses in zip(batches, expected, strict=True):
            total, found = graphs.run(packed, count)
            torch.testing.assert_close(found.double(), losses, rtol=1e-6, atol=1e-6)
            assert float(total) == pytest.approx(float(losses.sum()) / count, rel=1e-6)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-7)
    assert "shapes" in graphs.notes[0]


def test_a_head_over_labels_learns_by_graphs_too():
    model = tiny_model("llama")
    shared = lora.add_adapters(model, Lora(r=4, alpha=8, dropout=0.3), 4, 8, seed=3)
    replace_head(model, labels := 5, seed=1)
    path, parameters = fused_layers.fuse(model, longest=LONGEST, compiled=False), trained(model)
    samples = [replace(one, completion=(at % labels,)) for at, one in enumerate(random_samples(6))]
    packed = packing.pack(samples, seed=1, epoch=0)
    _, gradients = plain(path, shared, parameters, [packed], count=6)
    graphs = StepGraphs(path, shared, parameters, LONGEST, capture=as_it_is)
    graphs.reset()
    assert graphs.run(packed, 6) is not None
    for parameter, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_a_graph_serves_all_micro_batches_of_its_bucket():
    path, shared, parameters = adapted()
    captured = []

    def counting(batch, pool):
        captured.append(batch)
        return batch.compute

    graphs = StepGraphs(path, shared, parameters, LONGEST, capture=counting)
    batches, count = micro_batches(0)
    buckets = {shape_for(packed, LONGEST, 1) for packed in batches}
    for packed in [*batches, *batches]:
        graphs.reset()
        graphs.run(packed, count)
    assert len(captured) == len(buckets)


def test_the_dropout_of_an_epoch_reaches_a_graph_that_an_earlier_one_captured():
    path, shared, parameters = adapted()
    graphs = StepGraphs(path, shared, parameters, LONGEST, capture=as_it_is)
    samples = random_samples(4)
    found = []
    for epoch in (0, 1, 0):
        graphs.reset()
        found.append(graphs.run(packing.pack(samples, seed=1, epoch=epoch), 5)[1])
    assert torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])


def test_where_capture_fails_the_gradients_are_as_before_and_a_note_says_why():
    path, shared, parameters = adapted()

    def failing(batch, pool):
        batch.compute()
        raise torch.OutOfMemoryError("no memory for the pool")

    graphs = StepGraphs(path, shared, parameters, LONGEST, capture=failing)
    graphs.reset()
    batches, count = micro_batches(0)
    assert all(graphs.run(packed, count) is None for packed in batches)
    assert all(int(one.grad.count_nonzero()) == 0 for one in parameters)
    assert graphs.notes == ["finetuned without CUDA graphs: OutOfMemoryError: no memory for the pool"]


def test_a_graph_that_computes_something_else_is_not_trusted():
    path, shared, parameters = adapted()

    def wrong(batch, pool):
        def replay():
            batch.compute()
            parameters[0].grad.add_(1.0)

        return replay

    graphs = StepGraphs(path, shared, parameters, LONGEST, capture=wrong)
    graphs.reset()
    assert graphs.run(micro_batches(0)[0][0], 3) is None
    assert all(int(one.grad.count_nonzero()) == 0 for one in parameters)
    assert "away from those without" in graphs.notes[0]


def test_a_graph_that_keeps_the_weights_of_its_capture_shows_in_the_second_step():
    """Also where the first step has several micro-batches of its bucket, all of them before any weight changes."""
    path, shared, parameters = adapted(dropout=0.0)
    packed, count = micro_batches(0)[0][0], 3

    def stale(batch, pool):
        batch.compute()
        kept = [one.detach().clone() for one in parameters]

        def replay():
            now = [one.detach().clone() for one in parameters]
            for values in (kept, now):
                for one, value in zip(parameters, values, strict=True):
                    one.data.copy_(value)
                if values is kept:
                    path.refresh()
                    batch.compute()
            path.refresh()

        return replay

    graphs = StepGraphs(path, shared, parameters, LONGEST, capture=stale)
    graphs.reset()
    assert all(graphs.run(packed, count) is not None for _ in range(3))
    for one in parameters:
        one.data.mul_(1.5)
    path.refresh()
    graphs.reset()
    assert graphs.run(packed, count) is None


def test_no_more_graphs_than_the_limit(monkeypatch):
    monkeypatch.setattr(step_graphs, "MOST_GRAPHS", 0)
    path, shared, parameters = adapted()
    graphs = StepGraphs(path, shared, parameters, LONGEST, capture=as_it_is)
    graphs.reset()
    assert graphs.run(micro_batches(0)[0][0], 3) is None


@pytest.mark.parametrize(("enqueuing", "waiting", "bound"), [(0.02, 0.0, True), (0.0, 0.02, False)])
def test_launches_dominate_where_the_host_is_what_takes_the_time(enqueuing, waiting, bound):
    assert is_launch_bound(lambda: time.sleep(enqueuing), lambda: time.sleep(waiting)) is bound
