"""A density keeps its graphs: a fit is to the bit what it is with a density of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import bayesmeta as bm
from bayesmeta.capturing import kept
from bayesmeta.capturing.kept import captured, key_of
from bayesmeta.fit import fit_density
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import eight_schools, normal_means
from bayesmeta.task_level import conditional_graphs
from bayesmeta.training.fit_options import FitOptions

MCMC = bm.NUTS(chains=1, tune=50, draws=20, compile=False)
PAIRS = [
    (MCMC, bm.Joint()),
    (MCMC, bm.Exact()),
    (bm.NUTS(chains=1, tune=50, draws=20, compile=True), bm.Joint()),
    (bm.Importance(draws=100), bm.Laplace(particles=4)),
    (bm.Gaussian(adam=bm.Adam(steps=20, compile=False)), bm.Exact()),
    (bm.Point(), bm.Laplace()),
]


def studies() -> list[bm.Tasks]:
    """Of one layout; the choice to noncentre differs, by the size of what was observed."""
    tasks = eight_schools.tasks()
    assert tasks.y is not None
    return [replace(tasks, y=by * tasks.y) for by in (1.0, 0.1, 30.0)]


@pytest.mark.parametrize(("theta", "phi"), PAIRS)
def test_a_fit_is_to_the_bit_what_it_is_alone(theta: bm.Theta, phi: bm.Phi) -> None:
    density = Density(read(eight_schools.model, eight_schools.tasks()))
    for seed, tasks in enumerate(studies()):
        one = fit_density(density, tasks, theta, phi, FitOptions(seed, False), 0.0)
        model = eight_schools.model
        other = bm.fit(model, tasks, theta=theta, phi=phi, seed=seed, progress=False)
        assert torch.equal(one.fit.theta, other.fit.theta)
        new = tasks[["B", "F"]]
        for a, b in ((one, other), (one.adapt(new), other.adapt(new))):
            assert torch.equal(a.free_phi, b.free_phi)
            assert torch.equal(a.predict().draws, b.predict().draws)


def test_the_noncentred_density_is_made_once() -> None:
    density = Density(read(eight_schools.model, eight_schools.tasks()))
    noncentred = density.noncentre(["effect"])
    assert density.noncentre(["effect"]) is noncentred
    assert noncentred.centre_phi() is noncentred.centre_phi()
    assert density.noncentre([]) is not noncentred


def test_graphs_are_of_a_layout_and_of_what_is_told_of_the_function() -> None:
    tasks = normal_means.tasks()
    density = Density(read(normal_means.model, tasks))

    def graph(what: str, given: bm.Tasks) -> object:
        data = given.tensors()

        def of(*data: torch.Tensor) -> tuple[torch.Tensor]:
            return (data[-1].sum(),)

        return captured(density, what, [given], of, data)

    first = graph("sum", tasks)
    assert graph("sum", replace(tasks, y=tasks.y + 1)) is first
    others = [
        graph("other", tasks),
        graph("sum", tasks.select([0, 1])),
        graph("sum", replace(tasks, names=tuple("abcdefgh"))),
        graph("sum", replace(tasks, ragged=False)),
        graph("sum", tasks.to(dtype=torch.float32)),
    ]
    assert len({id(g) for g in (first, *others)}) == 6


def test_what_has_no_hash_is_not_kept_and_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    density = Density(read(eight_schools.model, eight_schools.tasks()))
    assert key_of([], [], []) is None
    assert kept.kept(density, None, object) is not kept.kept(density, None, object)
    monkeypatch.setattr(kept, "_MOST", 2)
    first = kept.kept(density, 1, object)
    kept.kept(density, 2, object)
    assert kept.kept(density, 1, object) is first
    second = kept.kept(density, 3, object)
    assert kept.kept(density, 3, object) is second and kept.kept(density, 1, object) is first
    assert len(density.solvers["kept"]) == 2


def test_a_graph_over_draws_that_is_recorded_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = eight_schools.tasks()
    theta, phi = bm.Importance(draws=100), bm.Laplace()
    found = []
    for often in (2, 10**9):
        monkeypatch.setattr(conditional_graphs, "_OFTEN", often)
        post = bm.fit(eight_schools.model, tasks, theta=theta, phi=phi, progress=False)
        found.append(post.adapt(tasks[["C"]], phi=bm.HMC()).free_phi)
    assert torch.equal(*found)


def test_padding_does_not_count_after_tasks_of_the_same_shape_that_have_none() -> None:
    whole = normal_means.tasks(num_tasks=4, num_data=2, ragged=False)
    mask = whole.mask.clone()
    mask[0, 1] = False
    ragged = replace(whole, mask=mask, ragged=True)
    theta = torch.zeros(1, dtype=torch.float64)
    used, fresh = (Density(read(normal_means.model, whole)) for _ in range(2))
    bm.Laplace().log_evidence(used, theta, whole)
    found = bm.Laplace().log_evidence(used, theta, ragged)
    assert torch.equal(found, bm.Laplace().log_evidence(fresh, theta, ragged))
