"""One step needs little of what transformers imports; the rest would cost its process seconds.

Start of a process that loads a small network on an H100 (torch 2.11, transformers 5.17, 16 cores, benchmarks/
engine_parts.py, 27 November 2026): 10.4 s with both parts, 21.2 s without the flags, 17.6 s without leaving out the
compiler, 19.9 s without either.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

log = logging.getLogger(__name__)

# transformers asks these before it imports: metrics of assisted decoding, images, sound; several processes.
_UNUSED = (
    "is_sklearn_available",
    "is_scipy_available",
    "is_torchvision_available",
    "is_torchaudio_available",
)

_UNUSED_ALONE = ("is_torch_distributed_available",)

_COMPILER = "torch._dynamo"

_MASKS = "torch._dynamo._trace_wrapped_higher_order_op"

_MARKS = ("allow_in_graph", "assume_constant_result", "disable", "disallow_in_graph")

Made = TypeVar("Made")


def prepare_imports(alone: bool) -> None:
    """Have transformers' model classes leave out the unused; nothing where they have been imported already.

    Args:
        alone: whether this process shares its work with no other.
    """
    if "transformers.modeling_utils" in sys.modules:
        return
    from transformers import utils
    from transformers.utils import import_utils

    for module in (utils, import_utils):
        for name in (*_UNUSED, *(_UNUSED_ALONE if alone else ())):
            if hasattr(module, name):
                setattr(module, name, _never)


def _never(*_: object) -> bool:
    return False


def without_compiler(make: Callable[[], Made], quantized: bool = False) -> Made:
    """Call `make`, which imports and loads, while torch's compiler stays out.

    Its modules ask the compiler for no more than to mark functions, and for a context manager of masks that only
    attention by flex or by vmap needs. Where a release asks for more, `make` is called again with the compiler.

    Args:
        quantized: also import bitsandbytes, without compiling those of its operators that only processors use.
    """
    if _COMPILER in sys.modules:
        return make()
    try:
        with _compiler_left_out():
            if quantized:
                _import_bitsandbytes()
            return make()
    except (ImportError, AttributeError) as error:
        log.warning("loading again with torch's compiler: %s: %s", type(error).__name__, error)
    return make()


@contextmanager
def _compiler_left_out() -> Iterator[None]:
    import torch

    marks, masks = ModuleType(_COMPILER), ModuleType(_MASKS)
    vars(marks).update(dict.fromkeys(_MARKS, _unmarked))
    vars(masks).update(TransformGetItemToIndex=_mask_context)
    standing_in = {_COMPILER: marks, _MASKS: masks}
    sys.modules.update(standing_in)
    try:
        yield
    finally:
        for name, module in standing_in.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        if vars(torch).get("_dynamo") is marks:
            del torch._dynamo


def _unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
    """A decorator that changes nothing, with arguments or without."""
    return _unmarked if function is None else function


def _mask_context() -> Any:
    return import_module(_MASKS).TransformGetItemToIndex()


def _import_bitsandbytes() -> None:
    import torch

    compile_ = torch.compile
    torch.compile = _unmarked  # type: ignore[assignment]
    try:
        with suppress(ImportError):  # whoever needs it says so better
            import bitsandbytes  # noqa: F401
    finally:
        torch.compile = compile_
