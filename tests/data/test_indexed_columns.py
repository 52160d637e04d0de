"""IndexedColumn: columns that are read from a table equal columns that are held."""

from __future__ import annotations

import pytest
import torch

from bayesmeta.data.indexed_columns import IndexedColumn

TABLE = torch.arange(24, dtype=torch.uint8).reshape(6, 4) * 10
INDEX = torch.tensor([[0, 5], [2, 2], [1, 3]])


def test_bytes_are_read_as_numbers_from_0_to_1() -> None:
    column = IndexedColumn("image", TABLE, INDEX)["image"]
    assert column.dtype == torch.float32
    assert torch.equal(column, (TABLE[INDEX].double() / 255).float())


def test_floats_are_read_as_they_are() -> None:
    table = torch.randn(6, 4)
    assert torch.equal(IndexedColumn("z", table, INDEX)["z"], table[INDEX])


def test_some_tasks_have_the_rows_of_those_tasks() -> None:
    whole = IndexedColumn("image", TABLE, INDEX)
    assert torch.equal(whole.select(torch.tensor([2, 0]))["image"], whole["image"][[2, 0]])


def test_it_is_a_mapping_with_one_name() -> None:
    whole = IndexedColumn("image", TABLE, INDEX)
    assert list(whole) == ["image"] and len(whole) == 1
    with pytest.raises(KeyError, match="label"):
        whole["label"]


def test_another_dtype_is_read_without_a_copy_of_the_table() -> None:
    double = IndexedColumn("image", TABLE, INDEX).to(None, torch.float64)
    assert double["image"].dtype == torch.float64
    assert double.table.data_ptr() == TABLE.data_ptr()
