"""Rows in units of median and quartiles: one wrong row changes none, and is read as far out."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.amortisation.encoder_rows import in_units, names_of, range_of, rows_of, units_of
from bayesmeta.model.reading import Reading, read

GENERATOR = torch.Generator().manual_seed(0)
X = 3 + 2 * torch.randn(200, 10, generator=GENERATOR)
Y = -1 + 0.5 * torch.randn(200, 10, generator=GENERATOR)


def reading_of(tasks: bm.Tasks, outcome: Callable[[torch.Tensor], dist.Distribution]) -> Reading:
    """Of a model with a mean a task, or with logits of three classes."""

    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", outcome(phi), obs=tasks.y)

    return read(model, tasks)


NUMBERS = reading_of(bm.Tasks.from_arrays(Y, {"x": X}), lambda phi: dist.Normal(phi.sum(-1), 1.0))


def units(x: torch.Tensor, y: torch.Tensor = Y) -> torch.Tensor:
    return units_of([bm.Tasks.from_arrays(y, {"x": x})], NUMBERS)


def test_normal_numbers_have_their_mean_and_sd() -> None:
    found = units(X)
    torch.testing.assert_close(found[0], torch.tensor([3.0, -1.0]), rtol=0, atol=0.1)
    torch.testing.assert_close(found[1], torch.tensor([2.0, 0.5]), rtol=0.05, atol=0)


def test_a_wrong_row_changes_nothing() -> None:
    wrong = X.clone()
    wrong[0, 0] = 1e6
    torch.testing.assert_close(units(wrong), units(X), rtol=1e-2, atol=1e-2)
    # Negative control: the sd is another.
    assert wrong.std() > 1000 * X.std()


def test_constants_and_rare_numbers_have_a_unit() -> None:
    rare = torch.zeros(200, 10)
    rare[:10] = 7.0
    found = units(torch.full((200, 10), 0.1), rare)
    assert found[1, 0] == 1.0
    torch.testing.assert_close(found[1, 1], rare.std(correction=0))


def test_far_numbers_are_read_by_their_logarithm_and_places_as_they_are() -> None:
    rows = torch.tensor([[[-8.0, 0.5], [4.0, 5.0], [2.0, 6.0], [1e6, -1e6]]])
    found = in_units(rows, torch.tensor([[1.0, 0.0], [2.0, 1.0]]), places=1)
    torch.testing.assert_close(found[..., 0], rows[..., 0])
    far = 5 + torch.tensor(1e6 - 4).log()
    right = torch.tensor([[0.5, 5.0, 5 + torch.tensor(2.0).log(), -far]])
    torch.testing.assert_close(found[..., 1], right)


def test_no_rows_have_units_all_the_same() -> None:
    empty = bm.Tasks.from_list([[], []], {"x": [[], []]})
    assert torch.equal(units_of([empty], NUMBERS), torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert rows_of(empty, NUMBERS).shape[-1] == 2
    ends = range_of([empty], NUMBERS)
    assert (ends[0] == -torch.inf).all() and (ends[1] == torch.inf).all()


def test_the_range_leaves_padding_out() -> None:
    x = torch.arange(6.0).view(2, 3)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    tasks = bm.Tasks.from_arrays(-x, {"x": x}, mask)
    assert torch.equal(range_of([tasks], NUMBERS), torch.tensor([[0.0, -5.0], [5.0, 0.0]]))


@pytest.mark.parametrize(
    ("outcome", "names"),
    [
        (lambda phi: dist.Categorical(logits=phi), ["x['x']", "y", "y", "y"]),
        # Negative controls: counts and zeros and ones are numbers.
        (lambda phi: dist.Poisson(phi.sum(-1).exp()), ["x['x']", "y"]),
        (lambda phi: dist.Binomial(2, logits=phi.sum(-1)), ["x['x']", "y"]),
    ],
)
def test_classes_are_read_as_indicators(outcome: Callable, names: list[str]) -> None:
    y = torch.tensor([[0.0, 1.0, 2.0], [2.0, 2.0, 1.0]])
    tasks = bm.Tasks.from_arrays(y, {"x": torch.randn(2, 3)})
    reading = reading_of(tasks, outcome)
    rows = rows_of(tasks, reading)
    assert names_of(tasks, reading) == names and rows.shape[-1] == len(names)
    if len(names) == 4:
        assert torch.equal(rows[..., 1:].argmax(-1).to(y.dtype), y)
        assert torch.equal(rows[..., 1:].sum(-1), torch.ones(2, 3))
    else:
        assert torch.equal(rows[..., 1], y)
