"""What a function does to tensors, as a graph of the operations that it ran."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_aggregate
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils.weak import WeakTensorKeyDictionary

from bayesmeta.capturing.sources import Recorded

_aten = torch.ops.aten
_MEASURES = {_aten.size.default, _aten.stride.default, _aten.storage_offset.default}
# Others are numbers for Python. A check gives None, and is to be made by the graph too.
_RECORDED = (Tensor, tuple, list, type(None))


class ValueRead(RuntimeError):
    """A value was read out of a tensor that depends on inputs."""


def record(function: Callable[..., Any], inputs: Sequence[Tensor]) -> GraphModule:
    """The graph of the operations of `function(*inputs)`, below autograd and vmap.

    What is neither an input nor made by the function is a constant of the graph. Each node's
    `meta["val"]` has the shape, strides and dtype of its result, and no values. torch's make_fx
    does the same with a Proxy and a fake tensor for each result, in 10 to 20 times as long.

    Args:
        function: gives a tensor, or a tuple or list of tensors.
        inputs: different tensors, detached.

    Raises:
        ValueRead: where Python asks for a value that inputs or random numbers decide.
    """
    recording = Recording(inputs)
    with recording:
        results = function(*inputs)
    return recording.finished(results)


def depends_on_input(tensor: Tensor) -> bool:
    """Whether the graph that is being recorded, if any, gives this tensor values of its inputs."""
    modes = _get_current_dispatch_mode_stack()
    return any(isinstance(mode, Recording) and mode.depends(tensor) for mode in modes)


class Recording(TorchDispatchMode):
    """While active, runs every operation and writes it down."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self._graph = Graph()
        self._constants = torch.nn.Module()
        self._nodes = WeakTensorKeyDictionary()
        self._dependent: set[Node] = set()
        # Storage written to with values of inputs, which tensors made before may share.
        self._written: set[int] = set()
        for i, x in enumerate(inputs):
            node = self._graph.placeholder(f"arg{i}_1")
            self._dependent.add(node)
            self._keep(x, node)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing in a model compiles itself, for which torch would import its compiler, 1.2 s."""
        return False

    def depends(self, tensor: Tensor) -> bool:
        """Whether inputs, or random numbers, decide its values."""
        if self._nodes.get(tensor) in self._dependent:
            return True
        return bool(self._written) and tensor.untyped_storage()._cdata in self._written

    def finished(self, results: Any) -> GraphModule:
        """The graph with these results, to be called with the inputs."""
        self._graph.output(map_aggregate(results, self._argument))
        return Recorded(self._constants, self._graph)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is _aten.lift_fresh.default:
            # The values of torch.tensor(...), which the function may go on to write to.
            func = _aten.lift_fresh_copy.default
        elif _is_composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        depends = torch.Tag.nondeterministic_seeded in func.tags or self._any_depends(args, kwargs)
        if depends and torch.Tag.data_dependent_output in func.tags:
            raise ValueRead(f"{func} asks for a value of a tensor")
        call = map_aggregate(args, self._argument), map_aggregate(kwargs, self._argument)
        results = func(*args, **kwargs)
        if isinstance(results, _RECORDED):
            self._write_down(func, call, results, depends)
        if depends and func._schema.is_mutable:
            self._written |= {x.untyped_storage()._cdata for x in _tensors((args[:1], kwargs))}
        return results

    def _write_down(self, func: Any, call: tuple[Any, Any], results: Any, depends: bool) -> None:
        node = self._graph.call_function(func, *call)
        made = [node]
        if isinstance(results, Tensor):
            self._keep(results, node)
        else:
            for i, x in enumerate(results or ()):
                if isinstance(x, Tensor):
                    made.append(self._graph.call_function(operator.getitem, (node, i)))
                    self._keep(x, made[-1])
        if depends:
            self._dependent.update(made)

    def _keep(self, tensor: Tensor, node: Node) -> None:
        node.meta["val"] = torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta"
        )
        self._nodes[tensor] = node

    def _argument(self, value: Any) -> Any:
        """The node of a tensor, which is a constant where none made it; other things themselves."""
        if not isinstance(value, Tensor):
            return value
        node = self._nodes.get(value)
        if node is None:
            name = f"_constant{len(self._constants._buffers)}"
            self._constants.register_buffer(name, value.detach())
            node = self._graph.get_attr(name)
            self._keep(value, node)
        return node

    def _any_depends(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        return any(self.depends(x) for x in _tensors((args, kwargs)))


@functools.cache
def _is_composite(func: Any) -> bool:
    """Whether it is made of other operations, which autograd puts in its place where it is on."""
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return func not in _MEASURES and torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), key
    )


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list | dict):
            yield from _tensors(value)
