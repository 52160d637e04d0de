"""Compiled densities: the same numbers as the graph, from any thread, cached across processes."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from bayesmeta.capturing.capture import capture, value_and_gradient
from bayesmeta.engine import native
from bayesmeta.engine.cache import folder

pytestmark = pytest.mark.skipif(
    native.why_unavailable() is not None, reason="no C++ compiler is here"
)
DIM = 3


def log_density(q, weight, index):
    """A Gaussian with a constant raised to a power in it, which trips AOTInductor unfolded."""
    scale = torch.tensor(2.0, dtype=torch.float64) ** 1.5
    return -(weight * (q - index) ** 2).sum() / scale


def graph_and_data():
    data = [torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64), torch.tensor([0, 1, -1])]
    q = torch.zeros(DIM, dtype=torch.float64)
    return capture(value_and_gradient(log_density, 1), [q, *data]), q, data


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAYESMETA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def density(cache):
    graph, q, data = graph_and_data()
    return native.build(graph, q, data, runners=2)


def points(count):
    return np.random.default_rng(0).normal(size=(count, DIM))


def test_value_and_gradient_are_the_graphs(density):
    graph, _, data = graph_and_data()
    for point in points(5):
        value, gradient = density(point)
        expected = graph(torch.from_numpy(point), *data)
        assert value == pytest.approx(expected[0].item(), abs=1e-12)
        assert np.allclose(gradient, expected[1].numpy(), atol=1e-12, rtol=0)


def test_other_data_of_the_same_shapes_use_the_same_code(density):
    graph, q, data = graph_and_data()
    other = [data[0] * 3, data[1] + 1]
    again = native.build(graph, q, other)
    assert density.compile_seconds > 0 and again.compile_seconds == 0
    point = points(1)[0]
    expected = graph(torch.from_numpy(point), *other)[0].item()
    assert again(point)[0] == pytest.approx(expected)
    assert density(point)[0] != pytest.approx(expected)


def test_two_threads_at_once_get_their_own_answers(density):
    where, wrong = points(2000), []

    def work(rows):
        expected = density(rows[0])[0]
        for _ in range(3):
            wrong.extend(1 for row in rows[:1] if density(row)[0] != expected)
            for row in rows:
                density(row)

    threads = [threading.Thread(target=work, args=(where[i::2],)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_another_process_finds_it_in_the_cache(density):
    code = (
        "import tests.engine.test_native as t; from bayesmeta.engine import native; "
        "print(native.build(*t.graph_and_data()).compile_seconds)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == 0.0


@pytest.mark.slow
def test_a_damaged_cache_entry_is_built_anew(density, tmp_path, monkeypatch):
    graph, q, data = graph_and_data()
    for path in folder().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv("BAYESMETA_CACHE", str(tmp_path))
    assert native.build(graph, q, data).compile_seconds == 0
    for path in tmp_path.glob("*.so"):
        # Cut in a copy: the whole file is mapped into this process.
        whole = path.read_bytes()
        path.unlink()
        path.write_bytes(whole[:100])
    again = native.build(graph, q, data)
    assert again.compile_seconds > 0
    point = points(1)[0]
    assert again(point)[0] == pytest.approx(density(point)[0], abs=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda q: q.sum(), id="gradient without strides"),
        pytest.param(
            lambda q: torch.zeros(DIM, dtype=q.dtype).add_(q).square().sum(),
            marks=pytest.mark.slow,
            id="in-place on a constant",
        ),
    ],
)
def test_graphs_that_a_plain_copy_or_fold_would_get_wrong(cache, function):
    q = torch.zeros(DIM, dtype=torch.float64)
    graph = capture(value_and_gradient(function, 1), [q])
    density = native.build(graph, q, [])
    for point in points(3):
        value, gradient = density(point)
        expected = graph(torch.from_numpy(point))
        assert value == pytest.approx(expected[0].item(), abs=1e-12)
        assert np.allclose(gradient, expected[1].numpy(), atol=1e-12, rtol=0)


def test_without_a_compiler_it_says_so(monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/g++")
    native.why_unavailable.cache_clear()
    assert "no C++ compiler" in native.why_unavailable()
    monkeypatch.undo()
    native.why_unavailable.cache_clear()
