"""Tasks: the data of a meta-learning problem, with ragged tasks as padding and a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.arrays import Arrays, checked, given_arrays, given_lists
from bayesmeta.data.columns import TasksError, check_same_tasks
from bayesmeta.data.frames import read_frame
from bayesmeta.data.indexed_columns import IndexedColumn, move, move_columns, select_columns
from bayesmeta.data.padding import fill_padding
from bayesmeta.data.precision import check_dtype, check_kept
from bayesmeta.data.real_rows import masked_mean, masked_sum
from bayesmeta.data.row_index import Identity, RowIndex
from bayesmeta.data.selection import epochs, first_rows, positions, shuffled_rows, support_sizes

if TYPE_CHECKING:
    import pandas as pd


_EPISODES_TO_TRY = 8
# A model is run some twenty times before training starts: on all tasks where they are few.
_MANY, _SOME_OF_MANY = 2000, 500
# Some megabytes, which caches like, too; what a network makes of them is several times more.
_NUMBERS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False, repr=False)
class Tasks:
    """The datasets D_i = {(x_ij, y_ij)} of tasks i = 1..I; build one with a `from_` method.

    Attributes:
        x: named input columns of shape (tasks, data, ...), or (tasks, 1, ...) for what is
            constant within its task. Integer columns stay integers. Those of episodes are read
            from a table when they are asked for.
        y: outcomes of shape (tasks, data, ...), always floating; None means "predict".
        mask: bool of shape (tasks, data), True where there is a datapoint. A padded cell holds a
            copy of some real row, so that densities are finite there; it never counts.
        names: one name a task.
        query: the datapoints of the same tasks on which a few-shot objective is scored, if any.
        ragged: whether any cell may be padding.
        dtype: the floating dtype of the data, in which a model runs.
        origin: where names are mere positions, what tells these tasks from others that were made
            apart; None where names were given.
        index: which row of a data frame each datapoint was; None where they were made of arrays.
        is_query: whether these are other datapoints than those that phi was inferred from.
        identity: numbers of tasks and rows, by which it is known who has seen them; None where that
            is not known.
    """

    x: Mapping[str, Tensor]
    y: Tensor | None
    mask: Tensor
    names: tuple[str, ...]
    query: Tasks | None = None
    ragged: bool = field(default=False)
    dtype: torch.dtype = field(default=torch.float32)
    origin: object | None = field(default=None)
    index: RowIndex | None = field(default=None)
    is_query: bool = field(default=False)
    identity: Identity | None = field(default=None)

    @classmethod
    def from_arrays(
        cls,
        y: Any,
        x: Mapping[str, Any] | None = None,
        mask: Any = None,
        names: Sequence[Any] | None = None,
    ) -> Tasks:
        """Tasks out of y of shape (tasks, data, ...) and columns of shape (tasks, data | 1, ...).

        Cells where mask is False are padding, whatever they hold, but in a (tasks, 1, ...) column,
        which belongs to its task. So are those of y that a masked array hides. y=None is for
        prediction.

        The dtype is that of the floats given, or torch's default where they are Python's, and
        float64 where that would change a value. Integer columns of x stay integers.

        Raises:
            TasksError: for columns without names, a shape that does not fit, NaN or inf in a real
                cell, an x that is masked beside an outcome, a mask of other values than True,
                False, 1 and 0, a dtype that is no number, whole numbers that no float64 is, zero
                tasks, or names that clash.
        """
        return cls._new(checked(given_arrays(y, x, mask), names), names)

    @classmethod
    def from_list(
        cls,
        y: Sequence[Any],
        x: Mapping[str, Sequence[Any]] | None = None,
        names: Sequence[Any] | None = None,
    ) -> Tasks:
        """Tasks of different sizes out of lists: y[i] of shape (n_i, ...), x[name][i] alike.

        A column of one number a task, x[name][i] of shape (), has shape (tasks, 1).
        An empty task (n_i = 0) is legal: its phi gets the prior given theta.

        Raises:
            TasksError: as `from_arrays`, and where a column and y disagree on a task's size.
        """
        return cls._new(checked(given_lists(y, x), names), names)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        task: str | list[str],
        y: str | Sequence[str] | None,
        x: Sequence[str] = (),
        task_x: Sequence[str] = (),
    ) -> Tasks:
        """Tasks out of a data frame with one row a datapoint; task names are the task column's.

        Args:
            frame: rows in any order; tasks keep the order in which they first appear. Its index is
                kept, as `index`.
            task: the column that says which task a row belongs to; of a list, such as
                ["school", "class"], each combination is a task, with a name such as "A, 1".
            y: the outcome column; of a list, y has shape (tasks, data, outcomes), and the model
                reads `tasks.y[..., 0]`. None is for prediction.
            x: columns of the datapoints, shape (tasks, data).
            task_x: columns that are constant within a task, shape (tasks, 1).

        Raises:
            TasksError: for a missing column, a task_x column that varies within a task, and as
                `from_arrays`.
        """
        given, names, index = read_frame(frame, task, y, x, task_x)
        return cls._new(checked(given, names), names, index)

    @classmethod
    def _new(
        cls, arrays: Arrays, names: Sequence[Any] | None, index: RowIndex | None = None
    ) -> Tasks:
        return cls(
            **arrays._asdict(),
            origin=object() if names is None else None,
            index=index,
            identity=Identity.new(*arrays.mask.shape),
        )

    @property
    def num_tasks(self) -> int:
        """The size of the plate "tasks"."""
        return self.mask.shape[0]

    @property
    def num_data(self) -> int:
        """The size of the plate "data": the padded width."""
        return self.mask.shape[1]

    @property
    def sizes(self) -> Tensor:
        """Datapoints of each task, shape (tasks,)."""
        return self.mask.sum(1)

    def mean(self, name: str) -> Tensor:
        """The mean of column x[name] over each task's datapoints, (tasks, 1, ...).

        A statistic that a model may read of its own task: padding does not count, as it would in
        `x[name].mean(1)`. Of a task without datapoints it is 0.

        Raises:
            TasksError: of a query, whose statistic is another than that of the support.
        """
        self._check_statistic("mean", name)
        return masked_mean(self.x[name], self.mask).to(self.dtype)

    def sum(self, name: str) -> Tensor:
        """The sum of column x[name] over each task's datapoints, (tasks, 1, ...); see `mean`."""
        self._check_statistic("sum", name)
        return masked_sum(self.x[name], self.mask).to(self.dtype)

    def _check_statistic(self, what: str, name: str) -> None:
        if self.is_query:
            raise TasksError(
                f"the model reads tasks.{what}('{name}'), which of these datapoints is not that of "
                "those that it was fitted to; give it as a column of one number a task, made "
                f"before tasks are split: x={{'{name}_{what}': ...}}, in a data frame "
                f"frame.groupby(task)['{name}'].transform('{what}') as task_x"
            )

    @property
    def device(self) -> torch.device:
        """Where the data lie."""
        return self.mask.device

    def __len__(self) -> int:
        return self.num_tasks

    def __repr__(self) -> str:
        low, high = int(self.sizes.min()), int(self.sizes.max())
        points = f"{high}" if low == high else f"{low} to {high}"
        one = self.select(torch.arange(1))
        columns = {**one.x, **({} if one.y is None else {"y": one.y})}
        shapes = ", ".join(f"{n} {(len(self), *c.shape[1:])}" for n, c in columns.items())
        return f"Tasks({self.num_tasks} tasks of {points} datapoints; {shapes}; {self.dtype})"

    def __getitem__(self, which: Any) -> Tasks:
        """Some of the tasks: by position, name, slice, list of either, or bool tensor (tasks,)."""
        return self.select(positions(which, self.names))

    def select(self, index: Tensor | Sequence[int]) -> Tasks:
        """The tasks at the positions index of shape (selected,), with their query."""
        if len(index) == 0:
            raise TasksError("no tasks were selected; at least one is needed")
        if not isinstance(index, Tensor):
            index = torch.tensor(list(index), device="cpu")
        chosen = index.to(self.device)
        return replace(
            self,
            x=select_columns(self.x, chosen),
            y=None if self.y is None else self.y[chosen],
            mask=self.mask[chosen],
            names=tuple(self.names[i] for i in index.tolist()),
            query=None if self.query is None else self.query.select(index),
            index=None if self.index is None else self.index.select(index),
            identity=None if self.identity is None else self.identity.select(index),
        )

    @property
    def are_episodes(self) -> bool:
        """Whether they are read from a table as they are asked for, and alike by construction."""
        return isinstance(self.x, IndexedColumn)

    def sample(self) -> Tasks:
        """What to try a model on: all tasks, a few episodes, or some of very many."""
        if self.are_episodes:
            return self.select(torch.arange(min(self.num_tasks, _EPISODES_TO_TRY)))
        if self.num_tasks <= _MANY:
            return self
        return self.select(torch.linspace(0, self.num_tasks - 1, _SOME_OF_MANY).long())

    def take_rows(self, index: Tensor, mask: Tensor) -> Tasks:
        """The datapoints at positions index (tasks, width) of each task; mask says which count."""
        task = torch.arange(self.num_tasks, device=self.device)[:, None]

        def pick(column: Tensor) -> Tensor:
            return fill_padding(column[task, index], mask)

        return replace(
            self,
            # One value a task stays one: it belongs to the task, even to an empty one.
            x={n: column if column.shape[1] == 1 else pick(column) for n, column in self.x.items()},
            y=None if self.y is None else pick(self.y),
            mask=mask,
            query=None,
            ragged=not bool(mask.all()),
            index=None if self.index is None else self.index.take_rows(index),
            identity=None if self.identity is None else self.identity.take_rows(index),
        )

    def widen(self, num_data: int) -> Tasks:
        """The same tasks padded to num_data cells; narrowing drops padding only."""
        check_whole("widen", "num_data", num_data)
        if num_data < int(self.sizes.max()):
            raise TasksError(f"{num_data} cells cannot hold {int(self.sizes.max())} datapoints")
        order = torch.argsort(~self.mask, dim=1, stable=True)
        rows = self.take_rows(*first_rows(order, 0, self.sizes, num_data))
        return replace(rows, query=self.query)

    def split(self, shots: float, seed: int = 0) -> tuple[Tasks, Tasks]:
        """Disjoint support (shots random datapoints a task) and query (the rest of each task).

        Args:
            shots: how many, or a fraction between 0 and 1 of each task's: the nearest whole number,
                halves up, but at least one on each side where a task has two. A single one is
                support.
            seed: chooses the datapoints.

        Raises:
            TasksError: where a task has fewer than `shots` datapoints, or shots is neither.
        """
        check_seed("split", seed)
        chosen = support_sizes(shots, self.sizes, self.names)
        order, left = shuffled_rows(self.mask, seed), self.sizes - chosen
        return (
            self.take_rows(*first_rows(order, 0, chosen, max(1, int(chosen.max())))),
            self.take_rows(*first_rows(order, chosen, left, max(1, int(left.max())))),
        )

    def chunks(self, numbers: int) -> tuple[Tensor, ...]:
        """Positions of all tasks, in chunks that are quick to treat and fit in memory.

        Args:
            numbers: how many numbers there are for each task beside its data, such as phi.
        """
        of_one = numbers + sum(column.numel() for column in self.select(torch.arange(1)).tensors())
        return torch.arange(self.num_tasks).split(max(1, _NUMBERS_AT_ONCE // of_one))

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Endless positions (size,) of tasks: shuffled epochs, one joined to the next."""
        if size >= self.num_tasks:
            while True:
                yield torch.arange(self.num_tasks)
        yield from epochs(self.num_tasks, size, generator)

    def with_query(self, query: Tasks) -> Tasks:
        """These tasks as support, with the datapoints of the same tasks that score them.

        Raises:
            TasksError: where query has other tasks.
        """
        check_same_tasks(self.names, query.names)
        # Whoever says so knows that these are the same tasks, where names are mere positions.
        same = replace(query, names=self.names, origin=self.origin, is_query=True)
        return replace(self, query=same)

    def without_y(self) -> Tasks:
        """The inputs alone: a model given these predicts."""
        return replace(self, y=None)

    def without_data(self) -> Tasks:
        """The same tasks, none of whose datapoints was observed: `adapt` gives them their prior.

        They need no y, so that tasks of which nothing but x is known are predicted by

            new = post.adapt(tasks.without_data())
            new.predict(tasks)
        """
        y = torch.zeros_like(self.mask, dtype=self.dtype) if self.y is None else self.y
        return replace(self, y=y, mask=torch.zeros_like(self.mask), ragged=True, query=None)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tasks:
        """The same tasks on another device, or in another floating dtype; integers stay integers.

        Raises:
            TasksError: for a dtype in which no model runs, or that would change a value by more
                than rounding that is noise.
        """
        if dtype is not None:
            check_dtype(dtype)
            for name, column in self._held().items():
                check_kept(name, column, dtype, self.names)
        return replace(
            self,
            x=move_columns(self.x, device, dtype),
            y=None if self.y is None else move(self.y, device, dtype),
            mask=move(self.mask, device, None),
            query=None if self.query is None else self.query.to(device, dtype),
            dtype=dtype if dtype is not None else self.dtype,
        )

    def _held(self) -> dict[str, Tensor]:
        """The columns in memory, y among them; not those that are looked up."""
        held = {} if self.are_episodes else dict(self.x)
        return held if self.y is None else {**held, "y": self.y}

    def tensors(self) -> list[Tensor]:
        """The data as a flat list (mask, x, y, then query's): inputs of a captured graph."""
        own = [self.mask, *self.x.values(), *([] if self.y is None else [self.y])]
        return own + ([] if self.query is None else self.query.tensors())

    def with_tensors(self, tensors: Sequence[Tensor]) -> Tasks:
        """The inverse of `tensors`; the number of tasks and datapoints may be another."""
        count = 1 + len(self.x) + (self.y is not None)
        return replace(
            self,
            mask=tensors[0],
            x=dict(zip(self.x, tensors[1:], strict=False)),
            y=None if self.y is None else tensors[count - 1],
            query=None if self.query is None else self.query.with_tensors(tensors[count:]),
            index=None,
            identity=None,
        )


def check_tasks(name: str, given: object, hint: str = "") -> None:
    """Refuse what are no tasks.

    Args:
        name: of the argument.
        given: its value.
        hint: how to give it, as "after the model".

    Raises:
        TypeError: naming what was given.
    """
    if not isinstance(given, Tasks):
        raise TypeError(
            f"{name} is a {type(given).__name__}, but bm.Tasks is expected"
            f"{hint and ', ' + hint}: make them by bm.Tasks.from_frame, from_arrays or from_list"
        )
