"""Tasks and rows keep their numbers in whatever is done with them, and no others have them."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
import torch

import bayesmeta as bm

Y = torch.arange(12.0).reshape(3, 4)
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]]).bool()


def numbered() -> bm.Tasks:
    """Tasks whose outcomes tell which row is which."""
    return bm.Tasks.from_arrays(Y, {"x": Y}, MASK)


def by_outcome(tasks: bm.Tasks) -> dict[float, int]:
    assert tasks.identity is not None and tasks.y is not None
    assert tasks.identity.rows.dtype == torch.int64
    pairs = zip(tasks.y[tasks.mask].tolist(), tasks.identity.rows[tasks.mask].tolist(), strict=True)
    return dict(pairs)


OPERATIONS: dict[str, Callable[[bm.Tasks], bm.Tasks]] = {
    "select": lambda t: t[[2, 0]],
    "support": lambda t: t.split(1, seed=3)[0],
    "query": lambda t: t.split(1, seed=3)[1],
    "widen": lambda t: t.widen(9),
    "take_rows": lambda t: t.take_rows(torch.tensor([[1], [2], [0]]), torch.ones(3, 1).bool()),
    "to": lambda t: t.to(dtype=torch.float64),
    "with_query": lambda t: t.with_query(t.split(1)[1]),
    "without_y": lambda t: t.with_query(t.without_y()),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_rows_and_tasks_keep_their_numbers(name: str) -> None:
    tasks = numbered()
    known, found = by_outcome(tasks), OPERATIONS[name](tasks)
    rows = by_outcome(found)
    assert rows and rows.items() <= known.items() and len(set(known.values())) == 9
    assert tasks.identity is not None and found.identity is not None
    numbers = dict(zip(tasks.names, tasks.identity.tasks.tolist(), strict=True))
    assert found.identity.tasks.tolist() == [numbers[n] for n in found.names]
    # The control: the same made once more has others.
    assert not set(rows.values()) & set(by_outcome(OPERATIONS[name](numbered())).values())


def test_rows_of_a_frame_and_of_lists_have_numbers() -> None:
    frame = pd.DataFrame({"t": list("abab"), "y": [0.0, 1.0, 2.0, 3.0]})
    for tasks in (bm.Tasks.from_frame(frame, "t", "y"), bm.Tasks.from_list([[0.0], [1.0, 2.0]])):
        assert len(set(by_outcome(tasks).values())) == int(tasks.mask.sum())


def test_an_example_keeps_its_number_in_all_episodes() -> None:
    examples = torch.arange(12.0)[:, None]
    classes = bm.Classes(examples, (4, 4, 4), ("a", "b", "c"))

    def numbers(classes: bm.Classes) -> dict[float, int]:
        tasks = classes.episodes(6, ways=2, shots=1, queries=2)
        assert tasks.query is not None
        parts = [(t.x["image"].flatten().tolist(), t.identity) for t in (tasks, tasks.query)]
        assert all(identity is not None for _, identity in parts)
        found = [(v, n) for x, i in parts if i for v, n in zip(x, i.rows.flatten(), strict=True)]
        assert len(set(map(str, found))) == len(dict(found))
        return {value: int(number) for value, number in found}

    everything, some = numbers(classes), numbers(classes[["b", "c"]])
    assert min(some) >= 4 and all(everything.get(v, n) == n for v, n in some.items())
    assert len(set(everything.values())) == len(everything)
    assert classes.shuffled(3).identity is not None


def test_numbers_are_no_inputs_of_a_graph() -> None:
    tasks = numbered()
    assert len(tasks.tensors()) == 3
    assert tasks.with_tensors(tasks.tensors()).identity is None
    assert "identity" not in repr(tasks)
