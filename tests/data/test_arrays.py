"""Masked arrays: what is hidden of y was not observed, and what is hidden of x is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import bayesmeta as bm
from bayesmeta.data import arrays
from bayesmeta.data.columns import observed

Y = np.ma.masked_array([[1.0, -999.0, 3.0], [4.0, 5.0, np.nan]], [[0, 1, 0], [0, 0, 1]])
SEEN = [[True, False, True], [True, True, False]]


def rows(tasks: bm.Tasks) -> list[list[float]]:
    return [y[m].tolist() for y, m in zip(tasks.y, tasks.mask, strict=True)]


@pytest.mark.parametrize("given", [Y, list(Y), [list(row) for row in Y]])
def test_an_outcome_that_is_hidden_was_not_observed(given: Any) -> None:
    for tasks in (bm.Tasks.from_arrays(given), bm.Tasks.from_list(given)):
        assert tasks.mask.tolist() == SEEN and tasks.ragged
        assert rows(tasks) == [[1.0, 3.0], [4.0, 5.0]]
        # Padding is a real row, as it always is: no model meets what was hidden.
        assert set(tasks.y.flatten().tolist()) == {1.0, 3.0, 4.0, 5.0}


def test_it_is_the_same_as_a_mask_and_adds_to_one() -> None:
    given = bm.Tasks.from_arrays(Y.data, mask=SEEN)
    assert torch.equal(bm.Tasks.from_arrays(Y).y, given.y)
    both = bm.Tasks.from_arrays(Y, mask=[[True, True, True], [False, True, True]])
    assert rows(both) == [[1.0, 3.0], [5.0]]


def test_whole_numbers_and_vectors_may_be_hidden() -> None:
    counts = np.ma.masked_equal(np.array([[3, -1], [5, 6]]), -1)
    assert rows(bm.Tasks.from_arrays(counts)) == [[3.0], [5.0, 6.0]]
    pairs = np.ma.masked_array(np.ones((1, 2, 2)), [[[0, 0], [1, 1]]])
    assert bm.Tasks.from_arrays(pairs).mask.tolist() == [[True, False]]
    pairs.mask[0, 0, 1] = True
    with pytest.raises(bm.TasksError, match="y is masked in part at task '0', row 0"):
        bm.Tasks.from_arrays(pairs)


def test_lists_of_tasks_of_other_sizes_may_be_masked() -> None:
    ragged = [np.ma.masked_array([1.0, 2.0, 9.0], [0, 0, 1]), np.array([4.0]), []]
    tasks = bm.Tasks.from_list(ragged, {"x": [[1, 2, 3], [4], []]})
    assert rows(tasks) == [[1.0, 2.0], [4.0], []]
    assert tasks.x["x"][0].tolist() == [1, 2, 1]


def test_an_input_that_is_hidden_beside_an_outcome_is_refused() -> None:
    x = np.ma.masked_array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[0, 1, 0], [0, 0, 0]])
    assert bm.Tasks.from_arrays(Y, {"x": x}).mask.tolist() == SEEN
    words = "column 'x' is masked at task 'a', row 1 of that task, where there is a datapoint"
    for make in (bm.Tasks.from_arrays, bm.Tasks.from_list):
        with pytest.raises(bm.TasksError, match=words):
            make(np.ones((2, 3)), {"x": x}, names="ab")
        with pytest.raises(bm.TasksError, match=words):
            make(np.ones((2, 3)), {"x": list(x)}, names="ab")
    of_task = np.ma.masked_array([[1], [2]], [[False], [True]])
    with pytest.raises(bm.TasksError, match="column 'u' is masked at task '1', where there is"):
        bm.Tasks.from_arrays(Y, {"u": of_task})
    with pytest.raises(bm.TasksError, match="column 'u' is masked at task '1', where there is"):
        bm.Tasks.from_list(Y, {"u": [1.0, np.ma.masked]})


def test_without_the_mask_what_is_hidden_would_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "observed", lambda hidden, mask, names: mask)
    with pytest.raises((AssertionError, bm.TasksError)):
        test_an_outcome_that_is_hidden_was_not_observed(Y)
    assert observed(torch.tensor([[True]]), torch.tensor([[True]]), "a").tolist() == [[False]]
