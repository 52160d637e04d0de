"""N-way k-shot episodes out of labelled classes: support and query of each, disjoint and seeded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.columns import TasksError
from bayesmeta.data.indexed_columns import IndexedColumn
from bayesmeta.data.precision import dtype_of_table
from bayesmeta.data.row_index import Identity, new_numbers
from bayesmeta.data.selection import positions
from bayesmeta.data.tasks import Tasks

_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, eq=False, repr=False)
class Classes:
    """Examples of named classes, such as drawings of characters, out of which episodes are made.

    Attributes:
        examples: all examples, class by class, (examples, ...); bytes stand for 0 to 1.
        sizes: how many examples each class has.
        names: one name a class.
        column: what the examples are called in episodes.
        numbers: of each example, (examples,), by which it is known who has seen it; they are kept
            by what is selected and turned.
    """

    examples: Tensor
    sizes: tuple[int, ...]
    names: tuple[str, ...]
    column: str = "image"
    numbers: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))

    def __post_init__(self) -> None:
        if not len(self.numbers):
            numbers = new_numbers() + torch.arange(len(self.examples), device="cpu")
            object.__setattr__(self, "numbers", numbers)

    @classmethod
    def from_folder(cls, path: str | Path, size: tuple[int, int] = (28, 28)) -> Classes:
        """Grey images (1, height, width) out of a folder that has a folder of images a class.

        Folders may be nested, as in alphabet/character/drawing.png: every folder with images in it
        is a class, named by its path.

        Args:
            path: the folder.
            size: height and width to which images are scaled, in pixels.

        Raises:
            TasksError: where there is no class, or a file is no image; it names the file.
        """
        root = Path(path)
        files: dict[str, list[Path]] = {}
        for file in sorted(root.rglob("*")):
            if file.suffix.lower() in _IMAGES:
                files.setdefault(str(file.parent.relative_to(root)), []).append(file)
        if not files:
            raise TasksError(
                f"no folder below '{root}' holds images ({', '.join(_IMAGES)}); give the folder "
                "that has one folder of images for each class"
            )
        images = [_read(file, size) for group in files.values() for file in group]
        return cls(torch.stack(images), tuple(len(g) for g in files.values()), tuple(files))

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        low, high = min(self.sizes), max(self.sizes)
        count = f"{low}" if low == high else f"{low} to {high}"
        return f"Classes({len(self)} classes of {count} examples {tuple(self.examples.shape[1:])})"

    def __getitem__(self, which: Any) -> Classes:
        """Some of the classes: by position, name, slice, a list of either, or a bool mask."""
        chosen = positions(which, self.names).tolist()
        if not chosen:
            raise TasksError("no classes were selected; at least one is needed")
        parts, numbers = (x.split(list(self.sizes)) for x in (self.examples, self.numbers))
        return Classes(
            torch.cat([parts[i] for i in chosen]),
            tuple(self.sizes[i] for i in chosen),
            tuple(self.names[i] for i in chosen),
            self.column,
            torch.cat([numbers[i] for i in chosen]),
        )

    def rotated(self) -> Classes:
        """These classes and, as classes of their own, the same turned by 90, 180 and 270 degrees.

        The usual enlargement of Omniglot (Santoro et al. 2016). Examples must be (..., side, side).
        """
        turns = [torch.rot90(self.examples, quarter, (-2, -1)) for quarter in range(4)]
        named = [
            name + (f" turned {90 * quarter}" if quarter else "")
            for quarter in range(4)
            for name in self.names
        ]
        # A drawing remains the same one, however it is turned.
        numbers = self.numbers.repeat(4)
        return Classes(torch.cat(turns), self.sizes * 4, tuple(named), self.column, numbers)

    def episodes(
        self, num_tasks: int, *, ways: int, shots: int, queries: int, seed: int = 0
    ) -> Tasks:
        """Tasks of telling `ways` classes apart, each with its query.

        Task i draws `ways` different classes in random order, which are its labels y = 0, 1, ...,
        and of each class `shots` examples as support and `queries` others as query. The examples
        are the column x[column] (tasks, ways * shots, ...), read from a table when asked for.

        Returns:
            the support, with the query as its `query`.

        Raises:
            TasksError: where there are fewer classes than ways, or a class has fewer examples than
                shots and queries need.
        """
        check_seed("episodes", seed)
        self._check(num_tasks, ways, shots, queries)
        rng = np.random.default_rng(seed)
        first, sizes = np.cumsum([0, *self.sizes[:-1]]), np.array(self.sizes)
        wanted = shots + queries
        index = np.empty((num_tasks, ways, wanted), dtype=np.int64)
        for i in range(num_tasks):
            for way, c in enumerate(rng.choice(len(self), ways, replace=False)):
                index[i, way] = first[c] + rng.permutation(sizes[c])[:wanted]
        support, query = torch.from_numpy(index).split([shots, queries], dim=-1)
        origin, own = object(), new_numbers()
        return self._tasks(support, origin, own).with_query(self._tasks(query, origin, own))

    def shuffled(self, size: int = 10, seed: int = 0) -> Tasks:
        """All examples, each with the number of its class, in random order: to pre-train on.

        Such tasks are parts of one dataset, and say only what a step of training reads together:
        `batch_size` counts tasks. Examples that do not fill a task are left out.

        Args:
            size: examples a task.
            seed: chooses the order.

        Raises:
            TasksError: where there are fewer examples than a task has.
        """
        check_whole("shuffled", "size", size)
        check_seed("shuffled", seed)
        labels = torch.arange(len(self)).repeat_interleave(torch.tensor(self.sizes))
        if size > len(labels):
            raise TasksError(f"size={size} was asked for, and there are {len(labels)} examples")
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        index = order[: len(order) // size * size].view(-1, size)
        return self._numbered(index, labels[index], object(), new_numbers())

    def _tasks(self, index: Tensor, origin: object, first: int) -> Tasks:
        num_tasks, ways, count = index.shape
        labels = torch.arange(ways).repeat_interleave(count)
        return self._numbered(index.flatten(1), labels.repeat(num_tasks, 1), origin, first)

    def _numbered(self, index: Tensor, labels: Tensor, origin: object, first: int) -> Tasks:
        dtype = dtype_of_table(self.examples)
        tasks = first + torch.arange(len(index), device="cpu")
        return Tasks(
            x=IndexedColumn(self.column, self.examples, index, dtype),
            y=labels.to(dtype),
            dtype=dtype,
            mask=torch.ones(index.shape, dtype=torch.bool),
            names=tuple(map(str, range(len(index)))),
            origin=origin,
            identity=Identity(first, tasks, self.numbers[index]),
        )

    def _check(self, num_tasks: int, ways: int, shots: int, queries: int) -> None:
        counts = {"num_tasks": num_tasks, "ways": ways, "shots": shots, "queries": queries}
        for name, count in counts.items():
            check_whole("episodes", name, count)
        if ways > len(self):
            raise TasksError(f"ways={ways} classes were asked for, but there are {len(self)}")
        smallest = min(range(len(self)), key=lambda c: self.sizes[c])
        if shots + queries > self.sizes[smallest]:
            raise TasksError(
                f"shots={shots} and queries={queries} need {shots + queries} examples a class, but "
                f"class '{self.names[smallest]}' has {self.sizes[smallest]}"
            )


def _read(file: Path, size: tuple[int, int]) -> Tensor:
    # Pillow comes with matplotlib.
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            grey = image.convert("L").resize((size[1], size[0]), Image.Resampling.LANCZOS)
    except (UnidentifiedImageError, OSError) as error:
        raise TasksError(f"'{file}' cannot be read as an image: {error}") from error
    return torch.from_numpy(np.array(grey))[None]
