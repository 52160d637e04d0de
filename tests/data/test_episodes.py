"""Episodes: N ways, k shots, disjoint support and query, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from PIL import Image

import bayesmeta as bm
from bayesmeta.data.indexed_columns import IndexedColumn

SIZES = (6, 9, 7, 6)


def numbered() -> bm.Classes:
    """Four classes; every example is a number that says its class (tens) and itself (ones)."""
    values = [10 * c + e for c, size in enumerate(SIZES) for e in range(size)]
    return bm.Classes(torch.tensor(values, dtype=torch.float32)[:, None], SIZES, tuple("abcd"))


def test_an_episode_labels_its_own_classes_and_no_example_is_seen_twice() -> None:
    support = numbered().episodes(200, ways=3, shots=2, queries=4, seed=1)
    query = support.query
    assert query is not None
    assert support.x["image"].shape == (200, 6, 1) and query.x["image"].shape == (200, 12, 1)
    for task in range(200):
        shown = [support.x["image"][task, :, 0], query.x["image"][task, :, 0]]
        assert len(torch.cat(shown).unique()) == 18
        # Within an episode a label always stands for the same class, and another for another.
        pairs = {
            (int(y), int(x) // 10)
            for xs, ys in zip(shown, (support.y[task], query.y[task]), strict=True)
            for x, y in zip(xs, ys, strict=True)
        }
        assert len(pairs) == 3 and {y for y, _ in pairs} == {0, 1, 2}


def test_every_class_takes_every_label_and_every_example_is_used() -> None:
    support = numbered().episodes(400, ways=2, shots=1, queries=1)
    values = support.x["image"][..., 0]
    counts = torch.zeros(4, 2)
    for label in range(2):
        counts[:, label] = torch.bincount(values[:, label].long() // 10, minlength=4)
    # 100 of each on average, with a standard deviation below 10.
    assert ((counts - 100).abs() < 45).all()
    assert len(values.unique()) == sum(SIZES)


def test_all_examples_are_cut_into_tasks_with_the_numbers_of_their_classes() -> None:
    tasks = numbered().shuffled(size=5, seed=2)
    assert tasks.y.shape == (5, 5)  # of 28 examples
    x = tasks.x["image"][..., 0]
    assert torch.equal((x // 10).to(tasks.y), tasks.y) and len(x.unique()) == 25
    assert not torch.equal(tasks.y, tasks.y.sort().values)
    assert torch.equal(x, numbered().shuffled(size=5, seed=2).x["image"][..., 0])
    assert not torch.equal(x, numbered().shuffled(size=5, seed=3).x["image"][..., 0])
    with pytest.raises(bm.TasksError, match="size=29 was asked for, and there are 28"):
        numbered().shuffled(size=29)


def test_same_seed_same_episodes() -> None:
    first, second, other = (
        numbered().episodes(5, ways=2, shots=1, queries=1, seed=seed).x["image"]
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_rotated_classes_are_classes_of_their_own() -> None:
    image = torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2)
    classes = bm.Classes(image, (1, 1), ("a", "b")).rotated()
    assert len(classes) == 8 and classes.names[2] == "a turned 90"
    assert classes.examples[2, 0].tolist() == torch.rot90(image[0, 0]).tolist()
    back = torch.rot90(classes["a turned 270"].examples, 1, (-2, -1))
    assert torch.equal(back, image[:1])


def test_some_of_the_classes() -> None:
    chosen = numbered()[["c", "a"]]
    assert chosen.names == ("c", "a") and chosen.sizes == (7, 6)
    assert chosen.examples[:, 0].tolist() == [20, 21, 22, 23, 24, 25, 26, 0, 1, 2, 3, 4, 5]
    assert repr(chosen) == "Classes(2 classes of 6 to 7 examples (1,))"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ways": 5, "shots": 1, "queries": 1}, "ways=5 classes were asked for, but there are 4"),
        ({"ways": 2, "shots": 3, "queries": 4}, "need 7 examples a class, but class 'a' has 6"),
        ({"ways": 2, "shots": 0, "queries": 4}, "shots=0"),
    ],
)
def test_too_few_classes_or_examples_are_named(given: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        numbered().episodes(3, **given)


def test_a_folder_of_folders_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, count in (("greek/alpha", 3), ("greek/beta", 2), ("latin/a", 2)):
        (tmp_path / name).mkdir(parents=True)
        for k in range(count):
            pixels = rng.integers(0, 256, (28, 28), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{k}.png")
    classes = bm.Classes.from_folder(tmp_path)
    assert classes.names == ("greek/alpha", "greek/beta", "latin/a")
    assert classes.sizes == (3, 2, 2)
    # A picture of the size asked for comes back as it was.
    assert torch.equal(classes.examples[-1, 0], torch.from_numpy(pixels))
    assert bm.Classes.from_folder(tmp_path, size=(14, 20)).examples.shape == (7, 1, 14, 20)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(bm.TasksError, match="no folder below"):
        bm.Classes.from_folder(tmp_path)
    (tmp_path / "a" / "broken.png").write_text("not an image")
    with pytest.raises(bm.TasksError, match=r"broken\.png' cannot be read"):
        bm.Classes.from_folder(tmp_path)


def test_tasks_of_episodes_select_print_and_move_without_reading_all() -> None:
    support = numbered().episodes(10, ways=2, shots=1, queries=1)
    chosen = support[[4, 2]]
    assert torch.equal(chosen.x["image"], support.x["image"][[4, 2]])
    assert torch.equal(chosen.query.x["image"], support.query.x["image"][[4, 2]])
    assert "10 tasks of 2 datapoints; image (10, 2, 1)" in repr(support)
    assert support.to(dtype=torch.float64).x["image"].dtype == torch.float64
    assert support.sample().num_tasks == 8 and support[:3].sample().num_tasks == 3


def test_a_model_is_read_off_a_few_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """To read all of them would take the memory that looking examples up saves."""
    read: list[int] = []
    plain = IndexedColumn.__getitem__

    def counted(self: IndexedColumn, name: str) -> torch.Tensor:
        read.append(len(self.index))
        return plain(self, name)

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.param("mu", torch.tensor(0.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                logits = phi * tasks.x["image"][..., 0]
                pyro.sample("y", dist.Bernoulli(logits=logits), obs=tasks.y)

    episodes = numbered().episodes(500, ways=2, shots=1, queries=1)
    monkeypatch.setattr(IndexedColumn, "__getitem__", counted)
    bm.structure(model, episodes)
    adam = bm.Adam(steps=3, compile=False)
    bm.fit(model, episodes, **bm.MAML(batch_size=4, adam=adam), progress=False)
    assert read and max(read) <= 8
