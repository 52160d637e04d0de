"""A network in the form that is quick for the images of a single task, on a CPU."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from bayesmeta.nets.convolution import MatrixConv2d, stands_for
from bayesmeta.nets.normalisation import RowBatchNorm2d, TransductiveBatchNorm2d
from bayesmeta.nets.pretrained import FixedNorm

_OURS = (TransductiveBatchNorm2d, FixedNorm)


def quick(module: nn.Module) -> nn.Module:
    """A copy with other layers of the same weights, or the module where any part of it has more.

    A forward of the user's own, a hook or a parametrisation may rely on the layers as they are.
    """
    if all(_is_standard(part) for part in module.modules()):
        return of_one_task(copy.deepcopy(module))
    return module


def of_one_task(module: nn.Module) -> nn.Module:
    """The module with its layers replaced in place, but where it is itself such a layer."""
    if stands_for(module):
        return MatrixConv2d(module)
    if type(module) is TransductiveBatchNorm2d:
        return RowBatchNorm2d(module)
    for name, child in module.named_children():
        setattr(module, name, of_one_task(child))
    return module


def is_alone(w: Tensor, x: Tensor) -> bool:
    """Whether this is a single task on a CPU, and no vmap over draws is under way."""
    batched = torch._C._functorch.is_batchedtensor
    return len(x) == 1 and x.device.type == "cpu" and not (batched(w) or batched(x))


def _is_standard(part: nn.Module) -> bool:
    """Whether it is a layer of torch or ours, without anything that is added to its forward."""
    is_ours = type(part).__module__.startswith("torch.nn.modules.") or type(part) in _OURS
    hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks)
    return is_ours and not any(hooks) and not part._backward_pre_hooks
