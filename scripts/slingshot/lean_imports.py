"""A process that only predicts needs little of what transformers imports; the rest would cost it seconds."""

from __future__ import annotations

import sys
from threading import Thread

# transformers asks these before it imports: data-parallel training, metrics of assisted decoding, images, sound.
_UNUSED = (
    "is_torch_distributed_available",
    "is_sklearn_available",
    "is_scipy_available",
    "is_torchvision_available",
    "is_torchaudio_available",
)


def import_for_prediction(device: str) -> None:
    """Import torch, start the GPU beside what follows, and have transformers' model classes leave out the unused.

    Does nothing where transformers' models have been imported already.
    """
    if "transformers.modeling_utils" in sys.modules:
        return
    import torch

    if device == "cuda" and torch.cuda.is_available():
        Thread(target=torch.cuda.init, daemon=True).start()
    from transformers import utils
    from transformers.utils import import_utils

    for module in (utils, import_utils):
        for name in _UNUSED:
            if hasattr(module, name):
                setattr(module, name, _never)


def _never(*_: object) -> bool:
    return False
