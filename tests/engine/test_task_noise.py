"""Random numbers of tasks: of their distribution, and those of a task its own."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import bayesmeta as bm
from bayesmeta.engine.noise import normal, on_device
from bayesmeta.engine.task_noise import TaskNoise, _hashes

F64 = torch.float64
# A right generator falls below this once in a million tests.
LEAST_P = 1e-6


def noise_of(*names: str, seed: int = 0) -> TaskNoise:
    tasks = bm.Tasks.from_arrays(np.zeros((len(names), 1)), names=names)
    return TaskNoise(torch.Generator().manual_seed(seed), tasks)


def by_name(*names: str) -> dict[str, Tensor]:
    drawn = noise_of(*names).normal((50, len(names), 3), F64)
    return dict(zip(names, drawn.unbind(1), strict=True))


def test_numbers_of_a_task_do_not_depend_on_the_others() -> None:
    found = by_name("a", "b", "c")
    for names in (("a", "b", "c", "d"), ("z", "c", "b", "a"), ("b",), ("a", *map(str, range(99)))):
        other = by_name(*names)
        for name in found.keys() & set(names):
            torch.testing.assert_close(other[name], found[name], rtol=0, atol=1e-14)
    # Negative control: places in one long draw.
    few, more = (normal((50, count, 3), F64, torch.Generator().manual_seed(0)) for count in (3, 4))
    assert not torch.allclose(few[:, 0], more[:, 0])


def test_names_that_are_alike_differ() -> None:
    names = ["", "a", "aa", "ab", "ba", "b", "\u00e9", *map(str, range(10_000))]
    assert len(np.unique(_hashes(names))) == len(names)
    assert np.array_equal(_hashes(names)[:4], _hashes(names[:4]))


def test_a_part_draws_what_the_whole_would() -> None:
    for dtype, each in ((F64, 2), (torch.float32, 2), (torch.float32, 3)):
        whole = noise_of("a", "b", "c").normal((7, 3, each), dtype)
        part = noise_of("a", "b", "c").select(torch.tensor([2, 0])).normal((7, 2, each), dtype)
        torch.testing.assert_close(part, whole[:, [2, 0]], rtol=0, atol=1e-14)
        longer = noise_of("a", "b", "c").normal((9, 3, each), dtype)
        assert torch.equal(longer[:7], whole)


def test_calls_tasks_and_seeds_differ() -> None:
    noise = noise_of("a", "b")
    first, second = (noise.normal((1000, 2, 1), F64) for _ in range(2))
    other = noise_of("a", "b", seed=1).normal((1000, 2, 1), F64)
    rows = torch.cat([first, second, other], 1)[..., 0].T.numpy()
    assert np.abs(np.corrcoef(rows) - np.eye(6)).max() < 5 / 1000**0.5
    assert torch.equal(noise_of("a", "b").normal((1000, 2, 1), F64), first)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("shape", [(1, 200_000, 1), (200_000, 1, 1), (100, 50, 40), (99, 45, 45)])
def test_they_are_normal_and_independent(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    drawn = noise_of(*map(str, range(shape[1]))).normal(shape, dtype)
    assert drawn.dtype == dtype and drawn.abs().max() < 6
    flat = drawn.flatten().double().numpy()
    assert stats.kstest(flat, "norm").pvalue > LEAST_P
    # Of squares and of products of neighbours along each direction.
    assert stats.kstest(flat**2, stats.chi2(1).cdf).pvalue > LEAST_P
    for dim, size in enumerate(shape):
        if size > 1:
            one, next_one = (drawn.narrow(dim, start, size - 1) for start in (0, 1))
            for f in (lambda x: x, torch.square, torch.sign):
                r = np.corrcoef(f(one).flatten().numpy(), f(next_one).flatten().numpy())[0, 1]
                assert abs(r) < 5 / one.numel() ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_uniform_numbers_are_inside(dtype: torch.dtype) -> None:
    drawn = noise_of("a", "b").uniform((100_000, 2), dtype)
    assert drawn.dtype == dtype and drawn.shape == (100_000, 2)
    assert drawn.min() > 0 and drawn.max() < 1
    assert stats.kstest(drawn.flatten().numpy(), "uniform").pvalue > LEAST_P


def test_they_are_put_on_the_device_of_the_tasks() -> None:
    noise = noise_of("a")
    with on_device(torch.device("meta")):
        assert noise.normal((2, 1, 1), F64).device.type == "meta"


@pytest.mark.slow
def test_many_tasks_take_no_longer_than_one_long_draw() -> None:
    names = tuple(map(str, range(100_000)))
    noise, generator = noise_of(*names), torch.Generator().manual_seed(0)
    shape = (100, len(names), 1)
    spent = {}
    for name, draw in (
        ("tasks", lambda: noise.normal(shape, F64)),
        ("long", lambda: normal(shape, F64, generator)),
    ):
        spent[name] = []
        for _ in range(3):
            start = time.perf_counter()
            draw()
            spent[name].append(time.perf_counter() - start)
    assert min(spent["tasks"]) < 3 * min(spent["long"]) + 0.1
