"""Networks as functions of one flat weight vector, so that a task may have weights of its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from pyro.ops.provenance import detach_provenance, get_provenance, track_provenance
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.parameter import is_lazy

from bayesmeta.data.real_rows import real_rows, real_rows_are
from bayesmeta.nets import calls
from bayesmeta.nets.behaviour import LayerError, check, is_concrete
from bayesmeta.nets.calls import Call
from bayesmeta.nets.constants import carried, differing
from bayesmeta.nets.one_task import is_alone, quick
from bayesmeta.nets.operations import restated
from bayesmeta.nets.pretrained import copied, with_held_padding
from bayesmeta.nets.trial import Trial
from bayesmeta.running.isolation import undisturbed

_STATEFUL = (nn.modules.batchnorm._BatchNorm,)
_RANDOM = (nn.modules.dropout._DropoutNd,)


class Net:
    """A torch module as a function net(w, x) of flat weights w and inputs x.

        theta = pyro.param("theta", net.weights())
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
            ... net(phi, tasks.x["x"])

    The module itself is left alone and never trained: its weights are a start. They come from
    torch's own randomness, which `seed=` of fit does not cover: call torch.manual_seed before the
    module is made, for the same start in every run.

    A parameter with requires_grad=False is frozen: a constant of the network as its buffers are,
    and none of its weights. So is the row of an embedding that its `padding_idx` names.

    At the first call on data the network is tried (`nets/behaviour`): that a task's output rests on
    its weights and data alone, by any route, and that first and second derivatives are right.

    Args:
        module: any module whose output for a datapoint depends on that datapoint, or by
            `TransductiveBatchNorm2d` on the task's datapoints, and on nothing else.
        reads_task: whether it reads a task's datapoints together in other ways too. It must then
            leave padding out: bm.nets.real_rows() tells it what that is.

    Attributes:
        size: the number of weights.
        slices: where each named parameter lies in the flat vector, in the module's order.
        frozen: how many numbers requires_grad=False holds, by parameter.

    Raises:
        TypeError: for what is no torch module.
        ValueError: for a layer that keeps statistics from one call to the next, or is random, and
            for a module without trainable parameters.
        LayerError: at the first call, naming a layer with which the output is no such function.
    """

    @undisturbed()
    def __init__(self, module: nn.Module, *, reads_task: bool = False) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"Net got module={module!r}; give a torch module, as "
                "bm.nets.Net(nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 1)))"
            )
        for name, part in module.named_modules():
            _check(name, part)
        own = {n: p for n, p in module.named_parameters() if p.requires_grad}
        _check_weights(module, own)
        self._start = torch.cat([p.detach().reshape(-1) for p in own.values()])
        # The copy is a shape to call; its weights are given at each call.
        self._module = with_held_padding(copied(module)).requires_grad_(False)
        self._of_one_task = quick(self._module)
        held = {n: p for n, p in self._module.named_parameters() if n not in own}
        self._constants = {n: x.detach() for n, x in (*self._module.named_buffers(), *held.items())}
        self._shapes = {name: p.shape for name, p in own.items()}
        self._tried: set[tuple[object, ...]] = set()
        self._copies = self._was_called = False
        self._reads_task = reads_task
        self.size = len(self._start)
        self.slices: Mapping[str, slice] = _lay_out(self._shapes)
        self.frozen: Mapping[str, int] = {name: p.numel() for name, p in held.items()}

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
        origin = get_provenance((w, x))
        return track_provenance(self._outputs(*detach_provenance((w, x))), origin)

    def _outputs(self, w: Tensor, x: Tensor) -> Tensor:
        w = w.to(x.dtype) if x.is_floating_point() else w
        calls.note(self, w, x, is_first=not self._was_called)
        self._was_called = True
        is_shared = w.dim() == 1 and len(w) == self.size
        if not is_shared and w.shape != (len(x), 1, self.size):
            raise ValueError(
                f"net got weights of shape {tuple(w.shape)} and inputs of shape {tuple(x.shape)}; "
                f"weights must be ({self.size},), or ({len(x)}, 1, {self.size}) for a network a "
                "task: a site in the plate 'tasks' with .to_event(1)"
            )
        self._try(w, x)
        named = self._named(w if is_shared else w.squeeze(1))
        rows = real_rows()
        if rows is not None and rows.shape != x.shape[:2]:
            rows = None
        if not is_shared and is_alone(w, x):
            alone = {name: part[0] for name, part in named.items()}
            mine = None if rows is None else rows[0]
            return self._call(self._of_one_task, alone, x[0], mine)[None]

        def one(named: Mapping[str, Tensor], x: Tensor, rows: Tensor | None) -> Tensor:
            return self._call(self._module, named, x, rows)

        dims = (None if is_shared else 0, 0, None if rows is None else 0)
        return vmap(one, in_dims=dims)(named, x, rows)

    def carry(self, w: Tensor, source: Net, *, fresh: str | None = None) -> Tensor:
        """Weights that another network has learned, at the places of the same names in this one.

            theta = net.carry(post.theta["theta"][0, 0], old_net, fresh="3")
            bm.fit(transfer.target(net), few, theta=bm.Fixed({"theta": theta}), phi=bm.FineTune())

        The network takes over the other's buffers too, as running statistics, and what is frozen
        here: weights without them are another network.

        Args:
            w: the weights of the other network, (source.size,).
            source: the other network.
            fresh: a layer that is another here, as the last one for other classes: it gets zeros,
                which say nothing of any class.

        Returns:
            (size,).

        Raises:
            ValueError: where w is not of the other network, there is no such layer, a parameter or
                buffer outside of it has no counterpart of its shape, or the network was called
                before with other buffers.
        """
        if w.shape != (source.size,):
            raise ValueError(f"carry got weights of shape {tuple(w.shape)}, not ({source.size},)")
        found = carried(self._parts(self._start), source._parts(w), fresh)
        held = {**self._constants, **{n: x for n, x in found.items() if n in self._constants}}
        changed = differing(self.constants, held)
        if changed and self._was_called:
            raise ValueError(
                f"carry would change '{changed[0]}' of a network that was called before, whose "
                "results rest on it; carry into a new one, bm.nets.Net(module), before its first "
                "call"
            )
        self.hold(held)
        new = {name: w.new_zeros(shape) for name, shape in self._shapes.items()}
        return torch.cat([found.get(name, zero).reshape(-1) for name, zero in new.items()])

    @property
    def constants(self) -> dict[str, Tensor]:
        """What the output rests on beside weights and data: buffers and frozen parameters by name.

        The row of a table that is padding is "layer.padding".
        """
        return dict(self._constants)

    def hold(self, constants: Mapping[str, Tensor]) -> None:
        """Have these constants from now on, as `constants` names them."""
        self._constants = {
            n: constants[n].detach().to(x).clone() for n, x in self._constants.items()
        }

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
        return torch.cat([drawn[name].detach().reshape(-1) for name in self._shapes])

    def _parts(self, w: Tensor) -> dict[str, Tensor]:
        """Parameters and constants by name."""
        return {**self._constants, **self._named(w)}

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

    def _call(
        self, module: nn.Module, named: Mapping[str, Tensor], x: Tensor, rows: Tensor | None
    ) -> Tensor:
        dtype = next(iter(named.values())).dtype
        constants = {
            name: value.to(x.device, dtype if value.is_floating_point() else value.dtype)
            for name, value in self._constants.items()
        }
        x = x.clone() if self._copies else x
        with restated(), real_rows_are(rows):
            result = functional_call(module, {**constants, **named}, (x,))
        if not isinstance(result, Tensor):
            raise LayerError(
                f"the network ({type(self._module).__name__}) gives a {type(result).__name__}, no "
                "tensor; put it in a module whose forward picks the tensor that is meant, as "
                "`return self.inner(x).logits`"
            )
        return result

    def _try(self, w: Tensor, x: Tensor) -> None:
        """Refuse a network that is no function of weights and data; once for inputs of a shape."""
        kind = (x.shape[2:], x.dtype)
        if kind in self._tried or not x.shape[:2].numel() or not is_concrete(w, x):
            return
        each = w.detach().reshape(-1, self.size)[[0, -1]]
        named = [{n: part[k] for n, part in self._named(each).items()} for k in range(2)]
        inputs = [(task,) for task in x.detach()[[0, -1]]]
        trial = Trial(self._module, named, self._constants, inputs)
        self._copies |= check(trial, reads_task=self._reads_task)
        self._tried.add(kind)

    def output_for(self, call: Call) -> Tensor | None:
        """What it gives for known weights and data like those of a call, flat; None if it fails.

        Networks that differ in the order of layers, in activations or settings differ in this.
        """
        w = 0.3 * (1.0 + torch.arange(self.size)).sin().to(self._start)
        x = torch.zeros(1, 2, *call.shape, dtype=call.dtype)
        if call.dtype.is_floating_point:
            x = torch.linspace(-1, 1, x.numel(), dtype=call.dtype).sin().reshape(x.shape)
        try:
            with torch.no_grad():
                return self(w, x).flatten()
        except Exception:  # It takes other data than these, and cannot be compared.
            return None


def _lay_out(shapes: Mapping[str, torch.Size]) -> dict[str, slice]:
    slices, at = {}, 0
    for name, shape in shapes.items():
        slices[name] = slice(at, at + shape.numel())
        at += shape.numel()
    return slices


def _check(name: str, part: nn.Module) -> None:
    if not part.training:
        return  # In eval mode neither is so, or it shows when it is tried.
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


def _check_weights(module: nn.Module, own: Mapping[str, nn.Parameter]) -> None:
    waiting = [name for name, p in module.named_parameters() if is_lazy(p)]
    if waiting:
        raise ValueError(
            f"parameter '{waiting[0]}' has no shape before the module is called; call it once, as "
            "module(x[0]), before Net(module)"
        )
    if not own:
        raise ValueError(
            f"{type(module).__name__} has no trainable parameters, so that no task could have "
            "weights of its own: where they are frozen, module.requires_grad_(True) frees them; "
            "what has none is called as it is, without Net"
        )
