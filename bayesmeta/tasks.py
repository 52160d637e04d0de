"""Tasks: the data of a meta-learning problem, with ragged tasks as padding and a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bayesmeta.columns import (
    TasksError,
    as_column,
    check_finite,
    check_names,
    common_dtype,
    fill_padding,
    pad,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Tasks:
    """The datasets D_i = {(x_ij, y_ij)} of tasks i = 1..I; build one with a `from_` method.

    Attributes:
        x: named input columns of shape (tasks, data, ...), or (tasks, 1, ...) for what is
            constant within its task. Integer columns stay integers.
        y: outcomes of shape (tasks, data, ...), always floating; None means "predict".
        mask: bool of shape (tasks, data), True where there is a datapoint. A padded cell holds a
            copy of some real row, so that densities are finite there; it never counts.
        names: one name a task.
        query: the datapoints of the same tasks on which a few-shot objective is scored, if any.
        ragged: whether any cell is padding.
    """

    x: Mapping[str, Tensor]
    y: Tensor | None
    mask: Tensor
    names: tuple[str, ...]
    query: Tasks | None = None
    ragged: bool = field(default=False)

    @classmethod
    def from_arrays(
        cls,
        y: Any,
        x: Mapping[str, Any] | None = None,
        mask: Any = None,
        names: Sequence[Any] | None = None,
    ) -> Tasks:
        """Tasks out of y of shape (tasks, data, ...) and columns of shape (tasks, data | 1, ...).

        Cells where mask is False are padding, whatever they hold. y=None is for prediction.

        Raises:
            TasksError: for a shape that does not fit, NaN or inf in a real cell, a dtype that is
                no number, zero tasks, or names that clash.
        """
        columns = {name: as_column(name, values) for name, values in (x or {}).items()}
        outcome = None if y is None else as_column("y", y)
        num_tasks, num_data = _plate_sizes(outcome, columns, mask)
        real = torch.ones(num_tasks, num_data, dtype=torch.bool)
        if mask is not None:
            real = as_column("mask", mask).bool()
        _check_shapes(outcome, columns, real)
        task_names = check_names(names if names is not None else range(num_tasks), num_tasks)
        dtype = common_dtype(outcome, list(columns.values()))
        for name, column in {**columns, **({} if outcome is None else {"y": outcome})}.items():
            check_finite(name, column, real, task_names)
        return cls(
            x={
                name: fill_padding(c.to(dtype) if c.is_floating_point() else c, real)
                for name, c in columns.items()
            },
            y=None if outcome is None else fill_padding(outcome.to(dtype), real),
            mask=real,
            names=task_names,
            ragged=not bool(real.all()),
        )

    @classmethod
    def from_list(
        cls,
        y: Sequence[Any],
        x: Mapping[str, Sequence[Any]] | None = None,
        names: Sequence[Any] | None = None,
    ) -> Tasks:
        """Tasks of different sizes out of lists: y[i] of shape (n_i, ...), x[name][i] alike.

        An empty task (n_i = 0) is legal: its phi gets the prior given theta.

        Raises:
            TasksError: as `from_arrays`, and where a column and y disagree on a task's size.
        """
        if len(y) == 0:
            raise TasksError("no tasks were given; at least one is needed")
        outcomes = [as_column("y", values) for values in y]
        sizes = [len(values) for values in outcomes]
        width = max(1, *sizes)
        columns = {}
        for name, values in (x or {}).items():
            if len(values) != len(y):
                raise TasksError(f"column '{name}' has {len(values)} tasks, but y has {len(y)}")
            rows = [as_column(name, v) for v in values]
            for task, row in enumerate(rows):
                if len(row) != sizes[task]:
                    raise TasksError(
                        f"column '{name}' has {len(row)} rows in task {task}, but y has "
                        f"{sizes[task]}; give one row a datapoint"
                    )
            columns[name] = pad(rows, width)
        mask = torch.arange(width) < torch.tensor(sizes)[:, None]
        return cls.from_arrays(pad(outcomes, width), columns, mask, names)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        task: str,
        y: str,
        x: Sequence[str] = (),
        task_x: Sequence[str] = (),
    ) -> Tasks:
        """Tasks out of a data frame with one row a datapoint; task names are the task column's.

        Args:
            frame: rows in any order; tasks keep the order in which they first appear.
            task: the column that says which task a row belongs to.
            y: the outcome column.
            x: columns of the datapoints, shape (tasks, data).
            task_x: columns that are constant within a task, shape (tasks, 1).

        Raises:
            TasksError: for a missing column, a task_x column that varies within a task, and as
                `from_arrays`.
        """
        for name in (task, y, *x, *task_x):
            if name not in frame.columns:
                raise TasksError(
                    f"the frame has no column '{name}'; its columns are {list(frame.columns)}"
                )
        if frame[task].isna().any():
            row = frame.index[frame[task].isna()][0]
            raise TasksError(f"the task column '{task}' is missing in row {row}; drop such rows")
        groups = list(frame.groupby(task, sort=False, observed=True))
        if not groups:
            raise TasksError("the frame has no rows; at least one task is needed")
        names = [name for name, _ in groups]
        tasks = cls.from_list(
            [group[y].to_numpy() for _, group in groups],
            {name: [group[name].to_numpy() for _, group in groups] for name in x},
            names,
        )
        constants = {}
        for name in task_x:
            for label, group in groups:
                if group[name].nunique(dropna=False) != 1:
                    raise TasksError(
                        f"column '{name}' takes {group[name].nunique(dropna=False)} values in task "
                        f"'{label}', but task_x columns are constant within a task; "
                        "give it in x instead"
                    )
            constants[name] = as_column(name, [group[name].iloc[0] for _, group in groups])[:, None]
            constants[name] = constants[name].to(tasks.dtype)
            check_finite(name, constants[name], tasks.mask[:, :1], tasks.names)
        return replace(tasks, x={**tasks.x, **constants})

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

    @property
    def dtype(self) -> torch.dtype:
        """The floating dtype of the data, in which a model runs."""
        return common_dtype(self.y, list(self.x.values()))

    @property
    def device(self) -> torch.device:
        """Where the data lie."""
        return self.mask.device

    def __len__(self) -> int:
        return self.num_tasks

    def __repr__(self) -> str:
        low, high = int(self.sizes.min()), int(self.sizes.max())
        points = f"{high}" if low == high else f"{low} to {high}"
        columns = {**self.x, **({} if self.y is None else {"y": self.y})}
        shapes = ", ".join(f"{n} {tuple(c.shape)}" for n, c in columns.items())
        return f"Tasks({self.num_tasks} tasks of {points} datapoints; {shapes}; {self.dtype})"

    def __getitem__(self, which: int | str | slice | Sequence[Any] | Tensor) -> Tasks:
        """Some of the tasks: by position, name, slice, list of either, or bool tensor (tasks,)."""
        if isinstance(which, int | str):
            which = [which]
        if isinstance(which, slice):
            which = list(range(self.num_tasks))[which]
        if isinstance(which, Tensor):
            which = which.nonzero()[:, 0] if which.dtype == torch.bool else which
            return self.select(which)
        return self.select(torch.tensor([self._position(w) for w in which], dtype=torch.long))

    def _position(self, which: int | str) -> int:
        if isinstance(which, str):
            if which not in self.names:
                raise KeyError(f"no task is named '{which}'; names are {list(self.names[:8])} ...")
            return self.names.index(which)
        if not -self.num_tasks <= which < self.num_tasks:
            raise IndexError(f"task {which} was asked for, but there are {self.num_tasks} tasks")
        return which % self.num_tasks

    def select(self, index: Tensor) -> Tasks:
        """The tasks at the positions index of shape (selected,), with their query."""
        if len(index) == 0:
            raise TasksError("no tasks were selected; at least one is needed")
        chosen = index.to(self.device)
        return replace(
            self,
            x={name: column[chosen] for name, column in self.x.items()},
            y=None if self.y is None else self.y[chosen],
            mask=self.mask[chosen],
            names=tuple(self.names[i] for i in index.tolist()),
            query=None if self.query is None else self.query.select(index),
        )

    def take_rows(self, index: Tensor, mask: Tensor) -> Tasks:
        """The datapoints at positions index (tasks, width) of each task; mask says which count."""

        def pick(column: Tensor) -> Tensor:
            if column.shape[1] != self.num_data:
                return column
            return fill_padding(column[torch.arange(len(column))[:, None], index], mask)

        return replace(
            self,
            x={name: pick(column) for name, column in self.x.items()},
            y=None if self.y is None else pick(self.y),
            mask=mask,
            query=None,
            ragged=not bool(mask.all()),
        )

    def widen(self, num_data: int) -> Tasks:
        """The same tasks padded to num_data cells; narrowing drops padding only."""
        order = torch.argsort(~self.mask, dim=1, stable=True)
        if num_data < int(self.sizes.max()):
            raise TasksError(f"{num_data} cells cannot hold {int(self.sizes.max())} datapoints")
        position = torch.arange(num_data, device=self.device)
        index = order[:, position.clamp(max=self.num_data - 1)]
        return self.take_rows(index, position < self.sizes[:, None])

    def split(self, shots: int, seed: int = 0) -> tuple[Tasks, Tasks]:
        """Disjoint support (shots random datapoints a task) and query (the rest of each task).

        Raises:
            TasksError: where a task has fewer than `shots` datapoints.
        """
        if shots < 0 or (self.sizes < shots).any():
            small = int((self.sizes < shots).nonzero()[0]) if shots >= 0 else 0
            raise TasksError(
                f"shots={shots} were asked for, but task '{self.names[small]}' has "
                f"{int(self.sizes[small])} datapoints; keep the larger tasks with "
                "tasks[tasks.sizes >= shots], or take fewer shots"
            )
        generator = torch.Generator().manual_seed(seed)
        noise = torch.rand(self.num_tasks, self.num_data, generator=generator).to(self.device)
        # Real rows first, in random order, padding last: support is a prefix, query what follows.
        order = torch.argsort(noise + 2.0 * ~self.mask, dim=1)
        rest = max(1, int(self.sizes.max()) - shots)
        left = torch.arange(rest, device=self.device) < (self.sizes - shots)[:, None]
        index = order[:, (shots + torch.arange(rest)).clamp(max=self.num_data - 1)]
        chosen = torch.arange(max(1, shots), device=self.device) < shots
        support = self.take_rows(order[:, : max(1, shots)], chosen.expand(self.num_tasks, -1))
        return support, self.take_rows(index, left)

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Endless positions (size,) of tasks: shuffled epochs, one joined to the next."""
        if size >= self.num_tasks:
            while True:
                yield torch.arange(self.num_tasks)
        order = torch.empty(0, dtype=torch.long)
        while True:
            if len(order) < size:
                order = torch.cat([order, torch.randperm(self.num_tasks, generator=generator)])
            yield order[:size]
            order = order[size:]

    def with_query(self, query: Tasks) -> Tasks:
        """These tasks as support, with the datapoints of the same tasks that score them.

        Raises:
            TasksError: where query has other tasks.
        """
        if query.names != self.names:
            raise TasksError(
                f"support has tasks {list(self.names[:4])} ..., but query has "
                f"{list(query.names[:4])} ...; they must be the same, in the same order"
            )
        return replace(self, query=query)

    def without_y(self) -> Tasks:
        """The inputs alone: a model given these predicts."""
        return replace(self, y=None)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tasks:
        """The same tasks on another device, or in another floating dtype."""

        def move(column: Tensor) -> Tensor:
            return column.to(device=device, dtype=dtype if column.is_floating_point() else None)

        return replace(
            self,
            x={name: move(column) for name, column in self.x.items()},
            y=None if self.y is None else move(self.y),
            mask=self.mask.to(device=device),
            query=None if self.query is None else self.query.to(device, dtype),
        )

    def tensors(self) -> list[Tensor]:
        """The data as a flat list (mask, x columns, y, then query's): inputs of a captured graph."""
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
        )


def _plate_sizes(y: Tensor | None, columns: Mapping[str, Tensor], mask: Any) -> tuple[int, int]:
    for name, column in {**columns, **({} if y is None else {"y": y})}.items():
        if column.dim() < 2:
            raise TasksError(
                f"'{name}' has shape {tuple(column.shape)}, but (tasks, data, ...) is expected; one "
                f"datapoint a task is (tasks, 1): {name}[:, None]"
            )
    if y is not None:
        return y.shape[0], y.shape[1]
    if mask is not None:
        return tuple(as_column("mask", mask).shape)  # type: ignore[return-value]
    if not columns:
        raise TasksError("neither y nor x nor mask was given, so there are no tasks")
    return max(c.shape[0] for c in columns.values()), max(c.shape[1] for c in columns.values())


def _check_shapes(y: Tensor | None, columns: Mapping[str, Tensor], mask: Tensor) -> None:
    plates = tuple(mask.shape)
    if plates[0] == 0:
        raise TasksError("no tasks were given (tasks = 0); at least one is needed")
    if plates[1] == 0:
        raise TasksError("y has no room for a datapoint (data = 0); pad to 1 and mask it out")
    if y is not None and tuple(y.shape[:2]) != plates:
        raise TasksError(f"mask has shape {plates}, but y has shape {tuple(y.shape)}")
    for name, column in columns.items():
        if column.shape[0] != plates[0] or column.shape[1] not in (1, plates[1]):
            raise TasksError(
                f"column '{name}' has shape {tuple(column.shape)}, but y and mask have (tasks, "
                f"data) = {plates}; give ({plates[0]}, {plates[1]}, ...), or ({plates[0]}, 1, ...) "
                "for what is constant within its task"
            )
