"""Networks as functions of one flat weight vector, so that a task may have weights of its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bayesmeta.model.isolation import undisturbed
from bayesmeta.nets import calls
from bayesmeta.nets.convolution import MatrixConv2d, stands_for
from bayesmeta.nets.normalisation import RowBatchNorm2d, TransductiveBatchNorm2d
from bayesmeta.nets.pretrained import FixedNorm, pretrained

__all__ = ["Net", "TransductiveBatchNorm2d", "pretrained"]

_STATEFUL = (nn.modules.batchnorm._BatchNorm,)
_RANDOM = (nn.modules.dropout._DropoutNd,)
_OURS = (TransductiveBatchNorm2d, FixedNorm)


class Net:
    """A torch module as a function net(w, x) of flat weights w and inputs x.

        theta = pyro.param("theta", net.weights())
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
            ... net(phi, tasks.x["x"])

    The module itself is left alone and never trained: its weights are a start. They come from
    torch's own randomness, which `seed=` of fit does not cover: call torch.manual_seed before the
    module is made, for the same start in every run.

    Args:
        module: any module whose output for a datapoint depends on that datapoint, or by
            `TransductiveBatchNorm2d` on the task's datapoints, and on nothing else.

    Attributes:
        size: the number of weights.
        slices: where each named parameter lies in the flat vector, in the module's order.

    Raises:
        TypeError: for what is no torch module.
        ValueError: for a layer that keeps statistics from one call to the next, or is random.
    """

    @undisturbed()
    def __init__(self, module: nn.Module) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"Net got module={module!r}; give a torch module, as "
                "bm.nets.Net(nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 1)))"
            )
        for name, part in module.named_modules():
            _check(name, part)
        self._start = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
        # The copy is a shape to call; its weights are given at each call.
        self._module = copy.deepcopy(module).requires_grad_(False)
        self._of_one_task = self._module
        if all(_is_standard(part) for part in module.modules()):
            self._of_one_task = of_one_task(copy.deepcopy(self._module))
        self._constants = dict(self._module.named_buffers())
        self._shapes = {name: p.shape for name, p in module.named_parameters()}
        self.size = len(self._start)
        self.slices: Mapping[str, slice] = _lay_out(self._shapes)

    @property
    def shapes(self) -> Mapping[str, torch.Size]:
        """The shape of each parameter in `slices`."""
        return self._shapes

    def weights(self) -> Tensor:
        """The module's own weights, flat, of shape (size,): a start for theta."""
        return self._start.clone()

    def __call__(self, w: Tensor, x: Tensor) -> Tensor:
        """The network's outputs.

        Args:
            w: (size,), weights that all tasks share; or (tasks, 1, size), a task's own, as a site
                in the plate "tasks" gives them.
            x: inputs (tasks, data, ...). Weights are cast to the dtype of floating inputs, as data
                from numpy are float64; integers, such as tokens, leave them as they are. Buffers,
                constants of the module, follow the weights.

        Returns:
            (tasks, data, ...), with what the module makes of one datapoint in place of the dots.

        Raises:
            ValueError: where w has another shape.
        """
        w = w.to(x.dtype) if x.is_floating_point() else w
        calls.note(self, w)
        if w.dim() == 1 and len(w) == self.size:
            return torch.func.vmap(partial(self._call, self._module, self._named(w)))(x)
        if w.dim() == 3 and w.shape == (len(x), 1, self.size):
            named = self._named(w.squeeze(1))
            if _is_alone(w, x):
                alone = {name: part[0] for name, part in named.items()}
                return self._call(self._of_one_task, alone, x[0])[None]
            return torch.func.vmap(partial(self._call, self._module))(named, x)
        raise ValueError(
            f"net got weights of shape {tuple(w.shape)} and inputs of shape {tuple(x.shape)}; "
            f"weights must be ({self.size},), or ({len(x)}, 1, {self.size}) for a network a task: "
            "a site in the plate 'tasks' with .to_event(1)"
        )

    def carry(self, w: Tensor, source: Net, *, fresh: str | None = None) -> Tensor:
        """Weights that another network has learned, at the places of the same names in this one.

            theta = net.carry(post.theta["theta"][0, 0], old_net, fresh="3")
            bm.fit(transfer.target(net), few, theta=bm.Fixed({"theta": theta}), phi=bm.FineTune())

        Args:
            w: the weights of the other network, (source.size,).
            source: the other network.
            fresh: a layer that is another here, as the last one for other classes: it gets zeros,
                which say nothing of any class.

        Returns:
            (size,).

        Raises:
            ValueError: where w is not of the other network, there is no such layer, or a parameter
                outside of it has no counterpart of its shape.
        """
        if w.shape != (source.size,):
            raise ValueError(f"carry got weights of shape {tuple(w.shape)}, not ({source.size},)")
        found = torch.zeros(self.size, dtype=w.dtype, device=w.device)
        inside = {n for n in self.slices if n == fresh or n.startswith(f"{fresh}.")}
        if fresh is not None and not inside:
            raise ValueError(f"fresh='{fresh}' is no layer; parameters are {list(self.slices)}")
        for name, shape in self._shapes.items():
            if name in inside:
                continue
            if source._shapes.get(name) != shape:
                theirs = source._shapes.get(name)
                raise ValueError(
                    f"parameter '{name}' has shape {tuple(shape)} here, and in the other network "
                    f"{'none' if theirs is None else tuple(theirs)}; name the layer that is "
                    "another, as fresh='3'"
                )
            found[self.slices[name]] = w[source.slices[name]]
        return found

    def redrawn(self, prefix: str) -> Tensor:
        """The flat weights, of which those below `prefix` are drawn as for a new module.

        By the layers' own `reset_parameters` (of some of torch's `_reset_parameters`), those of a
        layer's parts before its own, from torch's current random state.

        Args:
            prefix: a layer, or a parameter; "" is all.

        Raises:
            ValueError: for a parameter that none of them draws.
        """
        module = copy.deepcopy(self._module)
        named = dict(module.named_parameters())
        inside = [n for n in named if not prefix or n == prefix or n.startswith(prefix + ".")]
        with torch.no_grad():
            for name in inside:
                named[name].fill_(torch.nan)
            for name, part in reversed(list(module.named_modules())):
                own = [f"{name}.{n}" if name else n for n, _ in part.named_parameters()]
                draw = getattr(part, "reset_parameters", getattr(part, "_reset_parameters", None))
                if callable(draw) and set(own) & set(inside):
                    draw()
        for name in inside:
            if named[name].isnan().any():
                raise ValueError(
                    f"fresh='{prefix}': no reset_parameters() draws parameter '{name}' anew; give "
                    "the module one, or name layers of torch, which have it"
                )
        kept = dict(self._module.named_parameters())
        drawn = {**kept, **{name: named[name] for name in inside}}
        return torch.cat([p.detach().reshape(-1) for p in drawn.values()])

    def _named(self, w: Tensor) -> dict[str, Tensor]:
        """The parameters (..., *shape) out of flat weights (..., size)."""
        sizes = [shape.numel() for shape in self._shapes.values()]
        parts = dict(zip(self._shapes, w.split(sizes, -1), strict=True))
        kept = calls.still(self)
        if kept is not None:
            parts |= {n: kept.weights[..., self.slices[n]].to(w.dtype) for n in kept.names}
        return {
            name: part.reshape((*part.shape[:-1], *self._shapes[name]))
            for name, part in parts.items()
        }

    def _call(self, module: nn.Module, named: Mapping[str, Tensor], x: Tensor) -> Tensor:
        dtype = next((w.dtype for w in named.values()), x.dtype)
        constants = {
            name: value.to(x.device, dtype if value.is_floating_point() else value.dtype)
            for name, value in self._constants.items()
        }
        result: Tensor = functional_call(module, {**constants, **named}, (x,))
        return result


def of_one_task(module: nn.Module) -> nn.Module:
    """The module with its layers in the form that is quick for the images of a single task.

    Replaced in place, but where the module itself is such a layer.
    """
    if stands_for(module):
        return MatrixConv2d(module)
    if type(module) is TransductiveBatchNorm2d:
        return RowBatchNorm2d(module)
    for name, child in module.named_children():
        setattr(module, name, of_one_task(child))
    return module


def _is_standard(part: nn.Module) -> bool:
    """Whether it is a layer of torch or ours: a forward of the user's own may rely on layout."""
    return type(part).__module__.startswith("torch.nn.") or type(part) in _OURS


def _is_alone(w: Tensor, x: Tensor) -> bool:
    """Whether this is a single task on a CPU, and no vmap over draws is under way."""
    batched = torch._C._functorch.is_batchedtensor
    return len(x) == 1 and x.device.type == "cpu" and not (batched(w) or batched(x))


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
            "from task to task; for a trained network give bm.nets.pretrained(module), which holds "
            "them fixed; else use GroupNorm, LayerNorm, or, where the transductive protocol is "
            "meant, bm.nets.TransductiveBatchNorm2d"
        )
    if isinstance(part, _RANDOM) and part.p > 0:
        raise ValueError(
            f"layer '{name}' ({type(part).__name__}) is random, but a density must not be; leave "
            "it out, as bm.nets.pretrained(module) does: the prior of phi regularises"
        )
