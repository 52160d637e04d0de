"""Networks as functions of one flat weight vector, so that a task may have weights of its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

_STATEFUL = (nn.modules.batchnorm._BatchNorm,)
_RANDOM = (nn.modules.dropout._DropoutNd,)


class Net:
    """A torch module as a function net(w, x) of flat weights w and inputs x.

        theta = pyro.param("theta", net.weights())
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
            ... net(phi, tasks.x["x"])

    The module itself is left alone and never trained: its weights are a start.

    Args:
        module: any module whose output for a datapoint depends on that datapoint, or by
            `TransductiveBatchNorm2d` on the task's datapoints, and on nothing else.

    Attributes:
        size: the number of weights.
        slices: where each named parameter lies in the flat vector, in the module's order.

    Raises:
        ValueError: for a layer that keeps statistics from one call to the next, or is random.
    """

    def __init__(self, module: nn.Module) -> None:
        for name, part in module.named_modules():
            _check(name, part)
        self._start = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
        # The copy is a shape to call; its weights are given at each call.
        self._module = copy.deepcopy(module).requires_grad_(False)
        self._shapes = {name: p.shape for name, p in module.named_parameters()}
        self.size = len(self._start)
        self.slices: Mapping[str, slice] = _lay_out(self._shapes)

    def weights(self) -> Tensor:
        """The module's own weights, flat, of shape (size,): a start for theta."""
        return self._start.clone()

    def __call__(self, w: Tensor, x: Tensor) -> Tensor:
        """The network's outputs.

        Args:
            w: (size,), weights that all tasks share; or (tasks, 1, size), a task's own, as a site
                in the plate "tasks" gives them.
            x: inputs (tasks, data, ...).

        Returns:
            (tasks, data, ...), with what the module makes of one datapoint in place of the dots.

        Raises:
            ValueError: where w has another shape.
        """
        if w.dim() == 1 and len(w) == self.size:
            return torch.func.vmap(lambda inputs: self._call(w, inputs))(x)
        if w.dim() == 3 and w.shape == (len(x), 1, self.size):
            return torch.func.vmap(self._call)(w[:, 0], x)
        raise ValueError(
            f"net got weights of shape {tuple(w.shape)} and inputs of shape {tuple(x.shape)}; "
            f"weights must be ({self.size},), or ({len(x)}, 1, {self.size}) for a network a task: "
            "a site in the plate 'tasks' with .to_event(1)"
        )

    def _call(self, w: Tensor, x: Tensor) -> Tensor:
        parts = w.split([shape.numel() for shape in self._shapes.values()])
        named = {
            name: part.reshape(shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }
        result: Tensor = functional_call(self._module, named, (x,))
        return result


class TransductiveBatchNorm2d(nn.Module):
    """Batch normalisation by the statistics of the task's own images, support or query alike.

        y = weight * (x - mean) / sqrt(var + eps) + bias, mean and var over images and pixels

    Transductive: an image's output depends on the other images it is given with, so that results
    must say so (Bronskill et al. 2020). It is the protocol of MAML's published code. Plain
    operations, whose second derivatives under vmap are tested against finite differences.

    Args:
        channels: channels of the input (images, channels, height, width).
        eps: what is added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Images (images, channels, height, width) to the same."""
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), keepdim=True, correction=0)
        scale, shift = self.weight[:, None, None], self.bias[:, None, None]
        return scale * ((x - mean) * torch.rsqrt(variance + self.eps)) + shift


def _lay_out(shapes: Mapping[str, torch.Size]) -> dict[str, slice]:
    slices, at = {}, 0
    for name, shape in shapes.items():
        slices[name] = slice(at, at + shape.numel())
        at += shape.numel()
    return slices


def _check(name: str, part: nn.Module) -> None:
    if isinstance(part, _STATEFUL) or getattr(part, "track_running_stats", False):
        raise ValueError(
            f"layer '{name}' ({type(part).__name__}) keeps running statistics, which would leak "
            "from task to task; use GroupNorm, LayerNorm, or, where the transductive protocol is "
            "meant, bm.nets.TransductiveBatchNorm2d"
        )
    if isinstance(part, _RANDOM) and part.p > 0:
        raise ValueError(
            f"layer '{name}' ({type(part).__name__}) is random, but a density must not be; leave "
            "it out: the prior of phi regularises"
        )
