"""Pure functions of tensors to graphs: run Pyro's handlers once, keep the tensor operations."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bayesmeta.capturing.capture_errors import CaptureError, RefuseValues, in_words
from bayesmeta.capturing.recording import record
from bayesmeta.capturing.sources import Recorded
from bayesmeta.data.columns import TasksError
from bayesmeta.model.checks import StructureError
from bayesmeta.running.isolation import unvalidated

Outputs = tuple[Tensor, ...]
Options = dict[str, bool | int | str]
Compiled = TypeVar("Compiled")


def capture(function: Callable[..., Outputs], inputs: Sequence[Tensor]) -> GraphModule:
    """Record the tensor operations of `function(*inputs)` as a graph of the same signature.

    The graph holds for every value of the inputs at these shapes; whatever is not an input is a
    constant in it. It writes to no tensor after its making, as batched backward passes and some
    distributions do: vmap over draws refuses that.

    Raises:
        CaptureError: where the function branches on a value or reads it out, or fails.
    """
    # One tensor given twice would be one input, so each is a tensor of its own.
    own = [x.detach().clone() for x in inputs]
    try:
        with unvalidated():
            with RefuseValues():
                graph = record(function, own)
            _finish(graph)
            if any(_mutates(node) for node in graph.graph.nodes):
                graph = record(torch.func.functionalize(graph), own)
                _for_vmap(graph)
                _finish(graph)
    except (StructureError, TasksError):
        raise
    except (RuntimeError, ValueError) as error:
        raise CaptureError(in_words(error)) from error
    return graph


def _finish(graph: GraphModule) -> None:
    """Make a recorded graph one that may be run, recorded again or compiled anywhere."""
    _keep_dtypes(graph)
    _count_masks(graph)
    _write_anew(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _for_vmap(graph: GraphModule) -> None:
    """Say what functionalisation leaves in words that vmap knows.

    A copy over all of another tensor is an expansion, and an end is counted from the front.
    """
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.copy.default:
            node.target = torch.ops.aten.expand.default
            node.args = (node.args[1], list(node.meta["val"].shape))
        if node.target is torch.ops.aten.slice_scatter.default:
            whole, part, dim, *ends = node.args
            size = node.meta["val"].shape[dim]
            node.args = (whole, part, dim, *(e + size if (e or 0) < 0 else e for e in ends))


def _write_anew(graph: GraphModule) -> None:
    """A write in place to what nothing else reads gives a new tensor, as of densities' supports."""
    for node in graph.graph.nodes:
        written = node.args[0] if node.args else None
        if not (_mutates(node) and isinstance(written, Node) and list(written.users) == [node]):
            continue
        packet, _, overload = str(node.target).rpartition(".")
        anew = getattr(torch.ops.aten, packet.removeprefix("aten.").removesuffix("_"), None)
        if packet.endswith("_") and hasattr(anew, overload) and _is_own(written):
            node.target = getattr(anew, overload)


def _is_own(node: Node) -> bool:
    """Whether it is no input, no constant and no view of another tensor."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and all(r.alias_info is None for r in schema.returns)


def _mutates(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def constants(graph: GraphModule) -> dict[Node, Any]:
    """The value of every node that no input reaches."""
    values: dict[Node, Any] = {}
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            values[node] = functools.reduce(getattr, node.target.split("."), graph)
        elif node.op == "call_function" and all(n in values for n in node.all_input_nodes):
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: values[n])
            values[node] = node.target(*args, **kwargs)
    return values


def fold_constants(graph: GraphModule) -> None:
    """Replace what no input reaches by its value, in a graph that writes to no tensor in place."""
    values = constants(graph)
    for index, (node, value) in enumerate(values.items()):
        is_used = any(user not in values for user in node.users)
        if node.op == "call_function" and is_used and isinstance(value, Tensor):
            name = f"folded_{index}"
            graph.register_buffer(name, value.detach().clone().contiguous())
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(graph.graph.get_attr(name))
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()


def _count_masks(graph: GraphModule) -> None:
    """Constant boolean masks become positions: a compiler has to know how many they choose."""
    takes_indices = [
        node
        for node in graph.graph.nodes
        if node.op == "call_function" and str(node.target).startswith("aten.index")
    ]
    values = constants(graph) if takes_indices else {}
    for node in takes_indices:
        if not isinstance(node.args[1], list | tuple):
            continue
        indices: list[Any] = []
        for index in node.args[1]:
            value = values.get(index) if isinstance(index, Node) else None
            if value is None or value.dtype != torch.bool:
                indices.append(index)
                continue
            for axis, positions in enumerate(value.nonzero(as_tuple=True)):
                name = f"positions_{node.name}_{len(indices)}_{axis}"
                graph.register_buffer(name, positions)
                with graph.graph.inserting_before(node):
                    indices.append(graph.graph.get_attr(name))
        node.args = (node.args[0], indices, *node.args[2:])


def _keep_dtypes(graph: GraphModule) -> None:
    """Write down the dtype of what was created at torch's default one, which may change later."""
    for node in graph.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        names = {argument.name for argument in schema.arguments} if schema is not None else set()
        reads_tensor = bool(node.all_input_nodes)
        if {"dtype", "device"} <= names and not reads_tensor and node.kwargs.get("dtype") is None:
            node.kwargs = {**node.kwargs, "dtype": node.meta["val"].dtype}


def value_and_gradient(
    function: Callable[..., Tensor], wrt: int
) -> Callable[..., tuple[Tensor, ...]]:
    """The function that gives function(*inputs) and its gradients in the first `wrt` inputs.

    A gradient is zero where the value does not depend on the input. It can be captured: forward
    and backward become one graph.
    """

    def both(*inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in inputs[:wrt]]
            value = function(*leaves, *inputs[wrt:])
            gradients = torch.autograd.grad(value, leaves, allow_unused=True)
        filled = [
            torch.zeros_like(x) if g is None else g.detach()
            for x, g in zip(leaves, gradients, strict=True)
        ]
        return value.detach(), *filled

    return both


def _untransposed(graph: GraphModule) -> GraphModule:
    """A copy in which A B is (B' A')' where both are column-major and B is narrow.

    MKL takes several times as long for such a batch of products, which meta-gradients are full of:
    119 against 25 microseconds for 25 products (40, 40) @ (40, 10), on one core.
    """
    aten = torch.ops.aten
    copied = Recorded(graph, copy.deepcopy(graph.graph))
    for node in copied.graph.find_nodes(op="call_function", target=aten.bmm.default):
        a, b = node.args
        tall, narrow = a.meta["val"].shape[-2], b.meta["val"].shape[-1]
        if not (_column_major(a) and _column_major(b) and narrow <= 16 and narrow < tall):
            continue
        with copied.graph.inserting_before(node):
            call = copied.graph.call_function
            turned = [call(aten.transpose.int, (x, 1, 2)) for x in (b, a)]
            back = call(aten.transpose.int, (call(aten.bmm.default, tuple(turned)), 1, 2))
            new = call(aten.clone.default, (back,), {"memory_format": torch.contiguous_format})
        new.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(new)
        copied.graph.erase_node(node)
    return copied


def _column_major(node: Node) -> bool:
    value = node.meta["val"]
    return bool(value.stride(-2) == 1 and value.stride(-1) > 1 and min(value.shape[-2:]) > 1)


def over_draws(
    graph: GraphModule, draws: Sequence[Tensor], data: Sequence[Tensor], at_once: int = 64
) -> Outputs:
    """The graph at every draw, `at_once` together.

    Args:
        graph: a captured function of (*draws, *data).
        draws: inputs with a leading draw dimension.
        data: inputs that all draws share.
        at_once: draws that are held in memory together.
    """
    batched = torch.func.vmap(graph, in_dims=(0,) * len(draws) + (None,) * len(data))
    with torch.no_grad():
        if len(draws[0]) == 1:
            return tuple(x[None] for x in graph(*(d[0] for d in draws), *data))
        parts = [
            batched(*(d[i : i + at_once] for d in draws), *data)
            for i in range(0, len(draws[0]), at_once)
        ]
    return tuple(torch.cat(p) for p in zip(*parts, strict=True))


def compile_graph(
    graph: GraphModule, inputs: Sequence[Tensor], threads: int | None = None
) -> Callable[..., Outputs]:
    """The graph compiled in this process by inductor, which takes 3 to 20 seconds.

    A call costs about 40 microseconds more than its computation. With `threads` the results do not
    depend on how many threads torch has; None takes all of them.
    """
    options: Options = {"cpp_cache_precompile_headers": False}
    graph = _untransposed(graph)
    if threads is not None:
        options["cpp.threads"] = threads

    def compiled_with(options: Options) -> Any:
        return torch._inductor.compile(graph, [x.detach() for x in inputs], options=options)

    compiled = by_inductor(compiled_with, options)
    return lambda *given: tuple(compiled(*given))


def by_inductor(compiled: Callable[[Options], Compiled], options: Options) -> Compiled:
    """What inductor compiles with these options, by a compiler that knows the processor.

    Else torch tries for 5 to 10 s which vector instructions the compiler knows. Those of today know
    all; where one fails, that is tried.
    """
    with warnings.catch_warnings():
        # Torch's lowering calls what torch deprecates, and its export copies its own tree specs so.
        for message in (r".*_prims_common\.check", r".*LeafSpec"):
            warnings.filterwarnings("ignore", message=message, category=FutureWarning)
        try:
            return compiled({"cpp.vec_isa_ok": True, **options})
        except Exception:
            torch._inductor.cpu_vec_isa.valid_vec_isa_list.cache_clear()
            return compiled(options)
