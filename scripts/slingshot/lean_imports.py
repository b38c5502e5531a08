"""One step needs little of what transformers imports; the rest would cost its process seconds."""

from __future__ import annotations

import sys
from threading import Thread

# transformers asks these before it imports: metrics of assisted decoding, images, sound; several processes.
_UNUSED = (
    "is_sklearn_available",
    "is_scipy_available",
    "is_torchvision_available",
    "is_torchaudio_available",
)
_UNUSED_ALONE = ("is_torch_distributed_available",)


def prepare_imports(device: str, alone: bool) -> None:
    """Import torch, start the GPU beside what follows, and have transformers' model classes leave out the unused.

    Does nothing where transformers' models have been imported already.

    Args:
        alone: whether this process shares its work with no other
    """
    if "transformers.modeling_utils" in sys.modules:
        return
    import torch

    if alone and device == "cuda" and torch.cuda.is_available():
        Thread(target=torch.cuda.init).start()  # no daemon: an exit in its midst would crash
    from transformers import utils
    from transformers.utils import import_utils

    for module in (utils, import_utils):
        for name in (*_UNUSED, *(_UNUSED_ALONE if alone else ())):
            if hasattr(module, name):
                setattr(module, name, _never)


def _never(*_: object) -> bool:
    return False
