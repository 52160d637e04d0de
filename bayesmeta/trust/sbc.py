"""sbc: whether a pair of strategies finds what a model drew, at the levels of theta, phi and y."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.joined import joined, renamed
from bayesmeta.engine.noise import on_device
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.phi.base import Phi
from bayesmeta.phi.joint import Joint
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.handlers import Model
from bayesmeta.running.isolation import isolated, undisturbed
from bayesmeta.simulation.simulate import simulable
from bayesmeta.theta.base import Theta
from bayesmeta.theta.nuts import NUTS
from bayesmeta.theta.pair_checks import check_device, check_pair, check_use
from bayesmeta.training import interrupt
from bayesmeta.training.checkpoint import digest
from bayesmeta.trust.replicate import Compared, Outcome, Setting
from bayesmeta.trust.report import SBC
from bayesmeta.trust.unfinished import Unfinished

# Relative, to which figures of two names agree where they are one number.
_SAME = 1e-5


@undisturbed()
def sbc(
    model: Model,
    tasks: Tasks,
    *,
    theta: Theta | None = None,
    phi: Phi | None = None,
    simulations: int = 200,
    seed: int = 0,
    posterior: Posterior | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> SBC:
    """Simulation-based calibration: fit what the model drew, and see where the truth is.

    Studies are drawn from the model with the design of the tasks (`simulate`), and fitted by the
    pair. If theta ~ p(theta), D ~ p(D | theta), then the truth and the draws of p(theta | D) are
    alike, and the rank of the truth among them is uniform (Talts et al. 2018). Looked at are

        mu, tau, ...: each number of theta, eight of a site at most;
        effect: phi of a fitted task, one by chance in each simulation, as ranks of tasks of one
            study are not independent;
        new effect, new y: phi of a task never seen, drawn at the same theta, to which the fit
            adapts; and an outcome of it that it has not seen;
        log likelihood: of all data, a quantity of theta, phi and data, which finds a posterior
            that did not look at the data (Modrak et al. 2023).

    Draws are thinned to about independent ones by their effective size, 99 at most. A number that
    has two names, as a site and its copy by `pyro.deterministic`, is looked at once.

    Args:
        model: a Pyro function of the tasks, whose latents all have priors.
        tasks: the design: x, sizes, mask.
        theta, phi: the pair, as of `fit`.
        simulations: how many studies; coverage of 50% is known to .5 / sqrt(simulations).
        seed: simulation k depends on it and on k alone; without a posterior its study is
            `simulate(model, tasks, studies=k + 1, seed=seed)[k]`, as to look at one that failed.
        posterior: a fit of the model to the tasks: the truth is then one of its draws of theta, and
            what is fitted is its tasks with as many that are simulated, so that calibration is
            judged where the data are, and not all over the prior (Saeilynoja et al. 2025).
        checkpoint: a folder in which simulations are kept as they end: the same call goes on from
            them, or with more simulations. After Ctrl-C it has those that ended, and what is
            returned is of these.
        progress: whether to show a progress bar.

    Returns:
        the table, words and picture of what was found. Simulations whose fit raises are counted
        and shown, and are in no figure.

    Raises:
        StructureError: for a model that cannot be simulated, as of `simulate`, or that the pair
            cannot treat.
        ValueError, TypeError: for a pair that does not go together, a theta that is known, or a
            posterior of another model or of no data.
        CheckpointError: where the checkpoint is damaged, or is of another model, tasks, strategies,
            seed or posterior.
    """
    theta, phi = theta if theta is not None else NUTS(), phi if phi is not None else Joint()
    check_pair(theta, phi)
    check_whole("sbc", "simulations", simulations)
    check_seed("sbc", seed)
    _check_inferred(theta)
    density = simulable(model, tasks)
    check_device(theta, tasks.device)
    observed = None if posterior is None else _observed(posterior, density, tasks)
    design = tasks if posterior is None else renamed(tasks, "replicate")
    whole = design if observed is None else joined(observed, design)
    pair = f"theta=bm.{type(theta).__name__}(), phi=bm.{type(phi).__name__}()"
    with on_device(tasks.device):
        fitted = density if observed is None else Density(read(model, whole))
        fitted.structure.check_treatable(pair, needs_phi=not phi.is_joint)
        with isolated(seed):
            check_use(theta, phi, fitted, whole, None, None, None)
        setting = Setting(
            density, design, fitted, theta, phi.silent(), seed, simulations, posterior, observed
        )
        folder = None if checkpoint is None else Path(checkpoint)
        stored = Unfinished(folder, _about(setting, whole))
        stored.take_up()
        _run(setting, stored, progress)
    return _report(f"{theta.label} + {phi.label}", stored.outcomes, simulations)


def _run(setting: Setting, stored: Unfinished, progress: bool) -> None:
    """The simulations that are left; Ctrl-C leaves those that have ended."""
    left = [k for k in range(setting.simulations) if k not in stored.outcomes]
    done = setting.simulations - len(left)
    bar = tqdm(left, "sbc", setting.simulations, initial=done, disable=not progress)
    try:
        with interrupt.noted() as caught:
            for k in bar:
                found = setting.run(k)
                # A sampler that is interrupted ends early, and is no fit.
                if caught:
                    raise KeyboardInterrupt
                stored.add(k, found)
    except KeyboardInterrupt:
        if not stored.outcomes:
            raise
        bar.write(f"interrupted after {len(stored.outcomes)} of {setting.simulations} simulations")
    finally:
        bar.close()
        stored.save()


def _report(pair: str, outcomes: Mapping[int, Outcome], asked: int) -> SBC:
    ended = {k: outcomes[k] for k in sorted(outcomes) if k < asked}
    good = [o for o in ended.values() if o.failure is None]
    names = list(dict.fromkeys(n for o in good for n in o.found))
    # Of each (simulations, 4): place, z, truth and sd.
    nothing = Compared(*4 * (np.nan,))
    found = {n: np.array([o.found.get(n, nothing) for o in good]).T for n in names}
    # What is the same for all draws and truths, as the zeros of a Cholesky factor, is no quantity.
    moves = {n: x for n, x in found.items() if np.isfinite(x[0]).any() and not (x[1] == 0).all()}
    copies = _copies(moves)
    moves = {n: x for n, x in moves.items() if n not in copies}
    places, z, truths, sds = ({n: x[part] for n, x in moves.items()} for part in range(4))
    return SBC(
        pair,
        places,
        z,
        truths,
        sds,
        np.array([o.draws for o in good]),
        sum(not o.is_ok for o in good),
        {k: o.failure for k, o in ended.items() if o.failure is not None},
        {k: o.warning for k, o in ended.items() if o.warning is not None},
        asked,
        copies,
    )


def _copies(found: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Names whose z, truths and sds are those of a name before, with that name."""
    copies = dict[str, str]()
    for name, x in found.items():
        for other, y in found.items():
            if other == name:
                break
            if other not in copies and np.allclose(x[1:], y[1:], _SAME, 0, equal_nan=True):
                copies[name] = other
                break
    return copies


def _check_inferred(theta: Theta) -> None:
    if not theta.infers:
        raise ValueError(
            f"sbc got theta=bm.{type(theta).__name__}(), which knows theta, but studies are drawn "
            "at a theta of the prior each; give a strategy that infers it, as bm.NUTS()"
        )


def _observed(posterior: Posterior, density: Density, tasks: Tasks) -> Tasks:
    """The tasks that a posterior was fitted to.

    Raises:
        TypeError: where it is none.
        ValueError: where it holds no data, or is of another model.
    """
    if not isinstance(posterior, Posterior):
        raise TypeError(
            f"sbc got posterior={type(posterior).__name__}; give what bm.fit returned for this "
            "model, or None to draw theta from the prior"
        )
    learned = posterior.fit.learned_from
    if learned is None or learned.tasks is None:
        raise ValueError(
            "sbc got a posterior that holds no data that theta was fitted to, as one that was "
            "loaded or drawn from the prior, but data are fitted again with what is simulated; "
            "give what bm.fit returned"
        )
    names = posterior.structure.theta, density.structure.theta
    if names[0] != names[1] or posterior.tasks.x.keys() != tasks.x.keys():
        raise StructureError(
            f"sbc got a posterior of the sites {', '.join(names[0])} with the columns "
            f"{', '.join(posterior.tasks.x) or 'none'}, but the model has {', '.join(names[1])} "
            f"and the tasks {', '.join(tasks.x) or 'none'}; give a fit of the same model"
        )
    return learned.tasks.to(dtype=tasks.dtype)


def _about(setting: Setting, whole: Tasks) -> dict[str, Any]:
    """What tells these simulations from others; how many there are to be does not."""
    posterior = setting.posterior
    design = [x for x in setting.design.without_y().tensors() if isinstance(x, torch.Tensor)]
    return {
        "model": setting.density.structure.rows(),
        "tasks": digest(design, str(setting.design.names)),
        "theta": repr(setting.theta),
        "phi": repr(setting.phi),
        "seed": setting.seed,
        "posterior": None
        if posterior is None
        else digest([posterior.fit.theta, *whole.tensors()[:1]], "posterior"),
    }
