"""Fixed: phi at a known theta, which another model may share."""

from __future__ import annotations

import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import eight_schools, normal_means, omniglot, prototypes

MU = torch.tensor(2.0, dtype=torch.float64)


def test_phi_is_the_closed_form_at_the_theta_given() -> None:
    tasks = normal_means.tasks(num_tasks=5, num_data=4, seed=1, ragged=True)
    theta, phi = bm.Fixed({"mu": MU}), bm.Exact(draws=20_000)
    post = bm.fit(normal_means.model, tasks, theta=theta, phi=phi, progress=False)
    assert post.is_point
    assert (post.theta["mu"] == MU).all()
    precision = normal_means.TAU**-2 + tasks.sizes * normal_means.SIGMA**-2
    total = torch.where(tasks.mask, tasks.y, 0.0).sum(1)
    mean = (MU * normal_means.TAU**-2 + total * normal_means.SIGMA**-2) / precision
    error = (post.phi["phi"][0].mean(0) - mean) * precision.sqrt()
    assert error.abs().max() < 4 / 20_000**0.5
    # Negative control: at another theta it is another posterior.
    other = bm.fit(
        normal_means.model, tasks, theta=bm.Fixed({"mu": MU + 1}), phi=phi, progress=False
    )
    assert ((other.phi["phi"][0].mean(0) - mean) * precision.sqrt()).abs().max() > 0.1


def test_a_theta_serves_another_number_of_ways() -> None:
    characters = omniglot.classes(omniglot.Split.TEST)
    few, many = (characters.episodes(4, ways=n, shots=1, queries=2) for n in (3, 6))
    adam = bm.Adam(lr=1e-3, steps=2, compile=False)
    make = prototypes.prototypes
    trained = bm.fit(make(6, filters=4), many, **bm.ProtoNet(1, adam=adam), progress=False)
    theta = bm.Fixed({name: draws[0, 0] for name, draws in trained.theta.items()})
    post = bm.fit(
        make(3, filters=4), few, theta=theta, phi=bm.GradientSteps(1, 1.0), progress=False
    )
    assert post.predict(few.query).mean.shape == (4, 6, 3)
    assert torch.equal(post.theta["theta"], trained.theta["theta"])


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"mu": MU}, "shared sites are mu, tau"),
        ({"mu": MU, "tau": -MU}, "'tau' was given a value outside its support"),
        ({"mu": MU, "tau": MU.expand(1, 1)}, r"'tau' was given a value of shape \(1, 1\)"),
    ],
)
def test_values_that_do_not_fit_are_refused(
    values: dict[str, torch.Tensor], complaint: str
) -> None:
    with pytest.raises(bm.StructureError, match=complaint):
        bm.fit(eight_schools.model, eight_schools.tasks(), theta=bm.Fixed(values), phi=bm.Exact())


def test_what_it_cannot_infer_or_train_is_refused() -> None:
    tasks = normal_means.tasks()
    theta = bm.Fixed({"mu": MU})
    for phi, complaint in (
        (bm.Joint(), "leaves nothing to treat together"),
        (bm.GradientSteps(learn_lr=True), "trains nothing"),
    ):
        with pytest.raises(bm.StructureError, match=complaint):
            bm.fit(normal_means.model, tasks, theta=theta, phi=phi)


def test_a_posterior_is_no_theta() -> None:
    post = bm.prior(normal_means.model, normal_means.tasks(), draws=2)
    with pytest.raises(TypeError, match=r"got a Posterior; give \{name: value\}, as bm\.Fixed"):
        bm.Fixed(post)  # type: ignore[arg-type]
