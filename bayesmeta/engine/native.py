"""A captured log density as a C function: AOTInductor's machine code, cached on disk."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from bayesmeta.capturing.capture import Options, by_inductor, constants, fold_constants
from bayesmeta.capturing.late_broadcast import work_before_broadcast
from bayesmeta.capturing.recording import record
from bayesmeta.capturing.sources import Recorded
from bayesmeta.engine import cache

_KINDS = {torch.float64: b"d", torch.int64: b"l", torch.bool: b"?"}
_MAX_INPUTS = 250


class NativeDensity:
    """log density and gradient at the address of a C function, with the data bound.

    Attributes:
        address: of `int64 f(size_t dim, const double *x, double *grad, double *logp, void *user)`.
        expand_address: of the function that copies a draw.
        user_data: what to pass as `user`.
        dim: the length of x.
        compile_seconds: time spent compiling; 0 where the cache had it.
    """

    def __init__(
        self,
        model: Path,
        dim: int,
        data: Sequence[Tensor],
        places: Sequence[int],
        runners: int,
        compile_seconds: float,
    ) -> None:
        library = _bridge()
        self._places = places
        self.dim, self.compile_seconds = dim, compile_seconds
        self.user_data = library.density_open(os.fsencode(model), runners)
        if not self.user_data:
            raise OSError(f"the compiled density {model} does not load")
        # Bound by address: they must live as long as this object.
        self._data = data
        for x in self._data:
            if x.dtype not in _KINDS:
                raise OSError(f"a column of dtype {x.dtype} cannot be bound; float64 is expected")
            shape, strides = (
                (ctypes.c_int64 * x.dim())(*x.shape),
                (ctypes.c_int64 * x.dim())(*x.stride()),
            )
            if library.density_bind(
                self.user_data, x.data_ptr(), x.dim(), shape, strides, _KINDS[x.dtype]
            ):
                raise OSError("a data column could not be bound to the compiled density")
        self._logp = library.density_logp
        self.address = _address(library.density_logp)
        self.expand_address = _address(library.density_expand)

    def bind(self, data: Sequence[Tensor]) -> None:
        """Take other data, of the shapes of those that it was built for."""
        for own, place in zip(self._data, self._places, strict=True):
            own.copy_(data[place])

    def __call__(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        """The log density and its gradient at q (dim,)."""
        point = np.ascontiguousarray(q, dtype=np.float64)
        gradient, value = np.empty(self.dim), ctypes.c_double()
        code = self._logp(
            self.dim, point.ctypes.data, gradient.ctypes.data, ctypes.byref(value), self.user_data
        )
        if code < 0:
            raise RuntimeError("the compiled density failed; fit with compile=False to see where")
        return value.value, gradient


@functools.cache
def why_unavailable() -> str | None:
    """Why densities cannot be compiled here, in a sentence; None where they can."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return (
            f"no C++ compiler ('{compiler}') was found, so densities run uncompiled and sampling "
            "is slower; install g++, or set CXX"
        )
    try:
        _bridge()
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        return (
            f"the C bridge to compiled densities does not build here ({error}); sampling is slower"
        )
    return None


def has_c_entries(graph: GraphModule) -> bool:
    """Whether AOTInductor can call every operation: not LAPACK's, nor those defined in Python."""
    names = [str(n.target) for n in graph.graph.nodes if n.op == "call_function"]
    return all(
        n.startswith(("aten.", "<built-in")) and not n.startswith(("aten.linalg_", "aten.cholesky"))
        for n in names
    )


def build(graph: GraphModule, q: Tensor, data: Sequence[Tensor], runners: int = 1) -> NativeDensity:
    """Compile a graph (q, *data) -> (log density, gradient), or load it from the cache.

    Args:
        graph: captured in float64 by `capture`; data are its inputs, so other data of the same
            shapes find the same machine code.
        q: an example of shape (dim,).
        data: the tensors whose values to bind: float64, int64 or bool.
        runners: threads that may call at once.

    Raises:
        OSError: where the compiled density does not load.
    """
    # Of its own, as `bind` writes to them.
    data = [x.detach().clone() for x in data]
    graph, kept = _prepare(work_before_broadcast(_pure(graph, q, data)), len(data))
    used = [data[i] for i in kept]
    if len(used) > _MAX_INPUTS:
        raise OSError(f"a compiled density takes at most {_MAX_INPUTS} columns, not {len(used)}")
    inputs = (q.detach(), *used)
    model = cache.folder() / f"{_key(graph, inputs)}.so"
    began, seconds = time.perf_counter(), 0.0
    if not cache.is_whole(model):
        _compile(graph, inputs, model)
        seconds = time.perf_counter() - began
    density = NativeDensity(model, len(q), used, kept, runners, seconds)
    # An operation that AOTInductor has no C entry for fails at the first call, not before.
    density(q.detach().numpy())
    return density


def _pure(graph: GraphModule, q: Tensor, data: Sequence[Tensor]) -> GraphModule:
    """The graph without in-place operations, which folding would repeat, and with dense outputs."""

    def outputs(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = graph(*inputs)
        return value.clone(), gradient.clone(memory_format=torch.contiguous_format)

    return record(torch.func.functionalize(outputs, remove="mutations"), [q.detach(), *data])


def _prepare(graph: GraphModule, count: int) -> tuple[GraphModule, list[int]]:
    """A copy with constants folded and unused data inputs dropped, and which data are left."""
    graph = Recorded(graph, _copy(graph.graph))
    # AOTInductor trips over powers of constants.
    fold_constants(graph)
    placeholders = [n for n in graph.graph.nodes if n.op == "placeholder"][1:]
    kept = [i for i in range(count) if placeholders[i].users]
    for i in range(count):
        if i not in kept:
            graph.graph.erase_node(placeholders[i])
    graph.recompile()
    return graph, kept


def _copy(graph: torch.fx.Graph) -> torch.fx.Graph:
    new = torch.fx.Graph()
    output = new.graph_copy(graph, {})
    new.output(output)
    return new


def _compile(graph: GraphModule, inputs: tuple[Tensor, ...], model: Path) -> None:
    options: Options = {
        "cpp.threads": 1,
        # Dozens of small buffers a call: on the stack they halve the time of a small density.
        "aot_inductor.allow_stack_allocation": True,
        # Headers compiled ahead pay from the third density on; most sessions compile one.
        "aot_inductor.precompile_headers": False,
        "aot_inductor.compile_wrapper_opt_level": "O1",
        "aot_inductor.package": False,
    }

    def compiled(options: Options) -> str:
        exported = torch.export.export(graph, inputs)
        return str(torch._inductor.aot_compile(exported.module(), inputs, options=options))

    with torch.no_grad():
        cache.place(Path(by_inductor(compiled, options)), model)


def _key(graph: GraphModule, inputs: Sequence[Tensor]) -> str:
    """What the machine code depends on: operations, constants, shapes, torch and processor."""
    digest = hashlib.sha256()
    for part in (
        Path(__file__).read_text(),
        torch.__version__,
        cache.processor(),
        graph.code,
        *(f"{tuple(x.shape)}{x.stride()}{x.dtype}" for x in inputs),
    ):
        digest.update(part.encode() + b"\0")
    for node, value in constants(graph).items():
        if node.op == "get_attr":
            digest.update(f"{node.target}{tuple(value.shape)}{value.dtype}".encode())
            digest.update(value.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


@functools.cache
def _bridge() -> ctypes.CDLL:
    """The C bridge, built once a torch version."""
    source = Path(__file__).with_name("native.c")
    digest = hashlib.sha256(source.read_bytes() + torch.__version__.encode()).hexdigest()
    path = cache.folder() / f"bridge-{digest}.so"
    if not cache.is_whole(path):
        library = Path(torch.__file__).parent / "lib"
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder) / "bridge.so"
            command = [os.environ.get("CXX", "g++"), "-x", "c", "-O2", "-shared", "-fPIC"]
            command += [str(source), "-o", str(built), f"-L{library}", "-ltorch_cpu", "-ldl"]
            subprocess.run(command, check=True, capture_output=True)
            cache.place(built, path)
    bridge = ctypes.CDLL(str(path))
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    bridge.density_open.restype, bridge.density_open.argtypes = pointer, [ctypes.c_char_p, number]
    bridge.density_bind.restype = ctypes.c_int32
    bridge.density_bind.argtypes = [pointer, pointer, number, pointer, pointer, ctypes.c_char]
    bridge.density_logp.restype = number
    bridge.density_logp.argtypes = [ctypes.c_size_t, pointer, pointer, pointer, pointer]
    return bridge


def _address(function: Callable[..., object]) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]
