"""Whether a network may stand in a density: tried once, on the data, against a loop and torch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_leaves, tree_map

from bayesmeta.data.real_rows import asked_for_real_rows
from bayesmeta.model.checks import StructureError
from bayesmeta.nets.derivatives import wrong_derivative
from bayesmeta.nets.trial import Keywords, Trial, copied, numbers, split

# Datapoints of a task that are tried, fewer of a large network; and by how much weights and inputs
# are moved, in their size.
_ROWS, _FEW, _LARGE, _MOVED = 3, 2, 1_000_000, 0.05
_RANDOM = (
    "is random, but a density must not be; leave it out, as bm.nets.pretrained(module) does, by "
    "eval mode: the prior of phi regularises"
)
_TOLERANCE = {torch.float64: 1e-9}


Test = Callable[[Trial], str | None]


class LayerError(StructureError):
    """A layer with which a network is no function of its weights and data; it says which."""


def check(network: Trial, *, reads_task: bool) -> bool:
    """Refuse a network whose output is no function of a task's weights and data alone.

    Outputs of two tasks at weights of their own are those of torch one by one, at each call; first
    and second derivatives are those of finite differences, in float64 where the network runs so.

    Args:
        network: with weights and data of two tasks; its module is left as it is.
        reads_task: whether it may read a task's datapoints together.

    Returns:
        Whether it writes into its inputs, which then must be copies.

    Raises:
        LayerError: naming the layer, and what is wrong with it.
    """
    (x,) = network.args[0]
    devices = [x.device] if x.is_cuda else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of speed, as in the call itself.
        trial = _first_that_runs(network)
        if trial is None:
            return False  # What does not run says why when it is called.
        tests = [_other_calls, _other_tasks, _derivatives]
        for test in [*tests, *([] if reads_task else [_other_rows])]:
            what = test(trial)
            if what is not None:
                raise _named(trial, what, test)
        return _writes(trial)


def is_concrete(*tensors: Tensor) -> bool:
    """Whether these are numbers, and no graph is recorded or batch made of them."""
    return (
        all(type(x) in (Tensor, nn.Parameter) and not x.is_meta for x in tensors)
        and torch._C._functorch.maybe_current_level() is None
        and not _get_current_dispatch_mode_stack()
    )


def _other_calls(trial: Trial) -> str | None:
    """Whether the output rests on random numbers or on calls before, or weights change."""
    given = tree_map(copied, (dict(trial.constants), trial.weights[0], trial.args[0]))
    before = tree_map(copied, given[:2])
    torch.manual_seed(0)
    first = numbers(trial.called(*given))
    for kind, then, now in zip(("buffer", "weight"), before, given[:2], strict=True):
        for name, value in then.items():
            if value.layout is torch.strided and not _is_same(value, now[name]):
                return (
                    f"changes its {kind} '{name}' when it is called, so that a result would depend "
                    "on the calls before; bm.nets.pretrained(module) holds what it has fixed"
                )
    if _is_same(first, trial.alone(0, seed=1)):
        return None
    if _is_same(first, trial.alone(0)):
        return _RANDOM
    return "gives another output at each call: it keeps something from one to the next"


def _other_tasks(trial: Trial) -> str | None:
    """Whether a task's output is another beside other tasks."""
    apart = torch.stack([trial.alone(k) for k in range(2)])
    weights, args = trial.stacked()
    alike = replace(trial, weights=[trial.weights[0]] * 2)
    try:
        found = trial.together(weights, args)
        shared = trial.together(trial.weights[0], args, shared=True)
    except Exception as error:
        return _in_words(error)
    near = _TOLERANCE.get(apart.dtype, 1e-3)
    for ours, torchs in ((found, apart), (shared, torch.stack([alike.alone(k) for k in (0, 1)]))):
        scale = torchs.abs().max().nan_to_num(0, 0, 0)
        if not torch.allclose(ours, torchs, rtol=0, atol=near * float(scale), equal_nan=True):
            off = float((ours - torchs).abs().max())
            return f"gives a task another output beside other tasks than alone (by {off:.2g})"
    return None


def _derivatives(trial: Trial) -> str | None:
    """Whether derivatives, in weights and what moves with them, are those of the output."""
    if not trial.is_inside and _is_large(trial):
        trial = replace(trial, args=tree_map(lambda x: x[:1], trial.args))
    weights, args = trial.stacked()
    tensors, where = split(args)
    free = [k for k, x in enumerate(tensors) if trial.is_inside and x.is_floating_point()]

    def output(point: Sequence[Tensor]) -> Tensor:
        named = dict(zip(weights, point, strict=False))
        given = list(tensors)
        for k, value in zip(free, point[len(named) :], strict=True):
            given[k] = value
        return trial.together(named, where(given))

    point = [*weights.values(), *(tensors[k] for k in free)]
    if any(x.dtype is not torch.float64 for x in point):
        return None  # It does not run in float64, and differences would be rounding.
    return wrong_derivative(output, point)


def _other_rows(trial: Trial) -> str | None:
    """Whether the output for a datapoint is another beside other datapoints of its task.

    What asks which of them are padding is to read them together.
    """
    tensors, where = split(trial.args[0])
    count = next((len(x) for x in tensors if x.dim()), 0)

    def first(some: Sequence[Tensor]) -> Any:
        constants, weights = tree_map(copied, (dict(trial.constants), trial.weights[0]))
        found = trial.called(constants, weights, where([copied(x) for x in some]))
        return next((x for x in tree_leaves(found) if isinstance(x, Tensor)), None)

    with asked_for_real_rows() as asked:
        whole = first(tensors)
    if asked or count < 2 or not isinstance(whole, Tensor) or whole.shape[:1] != (count,):
        return None
    for k in (0, count - 1):
        try:
            alone = first([x[k : k + 1] if x.shape[:1] == (count,) else x for x in tensors])
        except Exception:  # It takes so many datapoints alone, and says so elsewhere.
            return None
        off = float((alone[0] - whole[k]).abs().max().nan_to_num(0, 0, 0))
        if off > _TOLERANCE.get(whole.dtype, 1e-3) * float(whole.abs().max().nan_to_num(0, 0, 0)):
            return (
                f"gives a datapoint another output beside others of its task than alone (by "
                f"{off:.2g}): recurrence and attention take datapoints, which come first, for time "
                "unless they have batch_first=True; what is to read a task's datapoints together "
                "asks bm.nets.real_rows() which are no padding, or is Net(module, reads_task=True)"
            )
    return None


def _first_that_runs(network: Trial) -> Trial | None:
    """In float64, or as it is; at a few datapoints, or all; moved a little off the data, or not.

    Where datapoints are alike, or at 0, a derivative may have a kink.
    """
    exact = replace(
        network,
        module=copy.deepcopy(network.module).to(torch.float64),
        **{
            name: tree_map(_in_float64, getattr(network, name))
            for name in ("weights", "constants", "args")
        },
    )
    rows = _FEW if _is_large(network) else _ROWS
    for at in (exact, network):
        weights = [
            {name: _moved(w, 1 + k) for name, w in named.items()}
            for k, named in enumerate(at.weights)
        ]
        for change in (lambda x: _moved(x[:rows], 0), lambda x: x[:rows], lambda x: x):
            trial = replace(at, weights=weights, args=tree_map(change, at.args))
            try:
                trial.alone(0)
            except Exception:
                continue
            return trial
    return None


def _is_large(trial: Trial) -> bool:
    return sum(w.numel() for w in trial.weights[0].values()) > _LARGE


def _named(trial: Trial, what: str, test: Test) -> LayerError:
    """The error that names the smallest part with a fault; the network, where no part has one."""
    for name, part in _parts(trial):
        found = test(part)
        if found is not None:
            return LayerError(f"layer '{name}' ({type(part.module).__name__}) of a network {found}")
    return LayerError(f"the network ({type(trial.module).__name__}) {what}")


def _parts(trial: Trial) -> Iterator[tuple[str, Trial]]:
    """The layers with what they are called with: those without layers of their own first."""
    seen: dict[str, list[tuple[Any, ...]]] = {}
    modules = {name: part for name, part in trial.module.named_modules() if name}

    def watch(name: str) -> Callable[..., None]:
        def note(part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            seen.setdefault(name, []).append(tree_map(copied, (*args, Keywords(kwargs))))

        return note

    hooks = [m.register_forward_hook(watch(n), with_kwargs=True) for n, m in modules.items()]
    try:
        for task in range(2):
            trial.alone(task)
    finally:
        for hook in hooks:
            hook.remove()
    for name in sorted(seen, key=lambda n: bool(list(modules[n].children()))):
        calls = seen[name]
        if len(calls) >= 2:
            args = [calls[0], calls[len(calls) // 2]]
            yield name, trial.of_layer(f"{name}.", modules[name], args)


def _in_float64(x: Tensor) -> Tensor:
    return x.detach().to(torch.float64) if x.is_floating_point() else x


def _moved(x: Tensor, seed: int) -> Tensor:
    if not x.is_floating_point():
        return x
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    return x + _MOVED * (x.abs().mean() + 0.1) * noise.to(x.device)


def _writes(trial: Trial) -> bool:
    given = tree_map(copied, (dict(trial.constants), trial.weights[0], trial.args[0]))
    trial.called(*given)
    return not torch.equal(given[2][0], trial.args[0][0])


def _is_same(one: Tensor, other: Tensor) -> bool:
    """To the bit, no number where there is none."""
    return bool(((one == other) | ((one != one) & (other != other))).all())


def _in_words(error: Exception) -> str:
    said = str(error).strip().split("\n")[0].rstrip(". ")
    if type(error) is ValueError:
        return said
    if "random" in said:
        return _RANDOM
    return f"cannot be run on several tasks at once ({type(error).__name__}: {said})"
