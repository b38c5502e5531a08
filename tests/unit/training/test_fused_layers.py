"""The private settings of torch's compiler by which a finetune fits a smaller card still do what they are set for."""

import pytest
import torch
import torch.nn.functional as F

from slingshot.training.fused_layers import let_compiler_recompute


def mlp(hidden, norm, gate, up, down):
    """As a decoder layer's, with its norm and its residual."""
    normed = F.rms_norm(hidden, hidden.shape[-1:], norm)
    return hidden + (F.silu(normed @ gate) * (normed @ up)) @ down


def bytes_kept(share):
    """What the backward pass of a compiled layer keeps besides its arguments; the backend compiles no kernels."""
    let_compiler_recompute(share)
    draw = torch.Generator().manual_seed(0)
    shapes = [(64, 32), (32,), (32, 128), (32, 128), (128, 32)]
    given = [torch.randn(shape, generator=draw).requires_grad_() for shape in shapes]
    compiled = torch.compile(mlp, fullgraph=True, backend="aot_eager_decomp_partition")
    out = compiled(*given)
    arguments = {one.data_ptr() for one in given}
    kept = sum(one.nbytes for one in out.grad_fn.saved_tensors if one.data_ptr() not in arguments)
    out.sum().backward()
    return kept, [one.grad for one in given]


@pytest.fixture
def settings():
    yield
    let_compiler_recompute(0.0)


def test_the_compiler_keeps_fewer_activations_where_it_is_told_to_recompute(settings):
    (everything, expected), (half, same), (least, also) = (bytes_kept(share) for share in (0.0, 0.5, 1.0))
    assert half < 0.6 * everything
    assert least < everything
    for gradients in (same, also):
        torch.testing.assert_close(gradients, expected)
