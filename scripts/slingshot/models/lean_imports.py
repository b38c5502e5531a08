"""One step needs little of what transformers imports; the rest would cost its process seconds."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from threading import Thread
from types import ModuleType
from typing import Any

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


def prepare_imports(device: str, alone: bool, compiles: bool, quantized: bool = False) -> None:
    """Import torch, start the GPU beside what follows, and have transformers' model classes leave out the unused.

    Does nothing where transformers' models have been imported already.

    Args:
        alone: whether this process shares its work with no other.
        compiles: whether this process will compile a model.
        quantized: whether it will load a quantized one.
    """
    if "transformers.modeling_utils" in sys.modules:
        return
    import torch

    if alone and device == "cuda" and torch.cuda.is_available():
        Thread(target=torch.cuda.init).start()  # no daemon: an exit in its midst would crash
    if not compiles:
        _put_off_compiler()
    from transformers import utils
    from transformers.utils import import_utils

    for module in (utils, import_utils):
        for name in (*_UNUSED, *(_UNUSED_ALONE if alone else ())):
            if hasattr(module, name):
                setattr(module, name, _never)
    if quantized and not compiles:
        _import_bitsandbytes()


def _never(*_: object) -> bool:
    return False


class _PutOff(ModuleType):
    """Stands for a module until somebody asks for more than it `offers`."""

    def __init__(self, name: str, **offers: Any) -> None:
        super().__init__(name)
        self.__dict__.update(offers)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and (name, self.__name__) != ("__path__", _COMPILER):
            raise AttributeError(name)  # nobody uses a module yet who asks what file it is from
        return getattr(self.imported(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.imported(), name, value)

    def imported(self) -> ModuleType:
        for one in (_COMPILER, _MASKS):
            if isinstance(sys.modules.get(one), _PutOff):
                del sys.modules[one]
        return importlib.import_module(self.__name__)


class _CameWithPackage(MetaPathFinder, Loader):
    """Finds a submodule that its package has imported meanwhile, lest it be imported a second time.

    Python looks for a submodule after it has asked the package for its path, and that is when a put-off package comes.
    """

    def __init__(self) -> None:
        self.specs: dict[str, ModuleSpec | None] = {}

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        present = sys.modules.get(fullname)
        if not fullname.startswith(f"{_COMPILER}.") or present is None or isinstance(present, _PutOff):
            return None
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = sys.modules[spec.name]
        self.specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__spec__"] = self.specs[module.__name__]  # config modules refuse an attribute


def _put_off_compiler() -> None:
    """Leave out torch's compiler, and with it sympy, until it is used.

    transformers' modules ask it for no more than to mark functions for compiling, and for a context manager of masks
    that only attention by flex or by vmap needs.
    """
    if _COMPILER in sys.modules:
        return
    masks: _PutOff = _PutOff(_MASKS, TransformGetItemToIndex=lambda: masks.imported().TransformGetItemToIndex())
    sys.modules[_MASKS] = masks
    sys.meta_path.insert(0, _CameWithPackage())
    marks = ("allow_in_graph", "assume_constant_result", "disable")
    sys.modules[_COMPILER] = _PutOff(_COMPILER, **dict.fromkeys(marks, _unmarked))


def _unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
    """A decorator that changes nothing, with arguments or without."""
    return _unmarked if function is None else function


def _import_bitsandbytes() -> None:
    """Import it without compiling those of its operators that only processors use."""
    import torch

    compile_ = torch.compile
    torch.compile = _unmarked  # type: ignore[assignment]
    try:
        with suppress(ImportError):  # whoever needs it says so better
            import bitsandbytes  # noqa: F401
    finally:
        torch.compile = compile_
