"""Why a function is not one graph: values that it reads out of tensors, and errors in words."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bayesmeta.capturing.recording import ValueRead, depends_on_input

# What torch says where a value is asked for while it records, or under vmap.
_ASKS_FOR_A_VALUE = (
    "get value out of a tracing tensor",
    "data-dependent",
    "calling .item()",
    "Boolean value of Tensor",
    "Cannot access data pointer",
)
# What gives numbers to Python without asking: a graph would hold those of the day it was made.
_OUT = {"tolist", "numpy", "__array__"}
_IN = {"tensor", "as_tensor", "asarray", "new_tensor"}
_LIBRARIES = tuple(str(Path(str(m.__file__)).parent) for m in (torch, pyro))
_OURS = str(Path(__file__).parent.parent)


class CaptureError(RuntimeError):
    """The model cannot be made one graph; the message says where and why."""


class RefuseValues(TorchFunctionMode):
    """While a graph is recorded: refuses what would write a value into it that an input decides.

    `x.tolist()`, `x.numpy()` and `torch.tensor([x, 1.0])` copy numbers, and torch records none of
    it. Of constants they are as good as ever.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in _OUT and depends_on_input(args[0]):
            raise ValueRead(f"x.{name}() of a tensor x copies its values out of it")
        named = kwargs or {}
        if name in _IN and any(map(depends_on_input, _listed((*args, *named.values())))):
            raise ValueRead(f"{name}([x, ...]) of a tensor x copies its value, without a gradient")
        return func(*args, **named)


def in_words(error: Exception) -> str:
    """What could not be captured, where, and what to write instead."""
    place = _place(error)
    said = str(error).strip()
    if isinstance(error, ValueRead) or any(phrase in said for phrase in _ASKS_FOR_A_VALUE):
        # Torch goes on about settings of its own.
        first = said.split("!")[0].split(". ")[0]
        return (
            f"the model cannot be captured as one graph{place} ({first}); a model may not branch "
            "on values of sites or data, or read them out, as by .item(), .tolist() or .numpy(): "
            "use torch.where for a choice, and torch.stack to put tensors together"
        )
    return (
        f"the model ran as it was read, but fails where it is made one graph{place}: "
        f"{type(error).__name__}: {said.rstrip('.')}. There it runs on any number of the tasks, is "
        "differentiated, and batched by torch.func.vmap; write this operation so that it can be"
    )


def _place(error: Exception) -> str:
    """The innermost line of the user's, which is in no file of torch, Pyro or this library."""
    # Generated code is in no file: Python 3.13 takes it for the line that `python -c` was given.
    others = (*_LIBRARIES, _OURS, "<string>")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.line and not frame.filename.startswith(others):
            return f", at line {frame.lineno} of {Path(frame.filename).name}, `{frame.line}`"
    return ""


def _listed(items: Any) -> Iterator[Tensor]:
    """The tensors in a list of numbers; a tensor by itself is copied as one, and is recorded."""
    for item in items:
        if isinstance(item, list | tuple):
            yield from (part for part in item if isinstance(part, Tensor))
            yield from _listed(part for part in item if isinstance(part, list | tuple))
