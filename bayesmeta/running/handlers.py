"""A model and its tasks under Pyro's handlers: the one file that touches poutine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from numbers import Integral
from types import MappingProxyType
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from pyro.ops.provenance import detach_provenance, get_provenance, track_provenance
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from bayesmeta.data.real_rows import real_rows_are
from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.rewritten import rewritten
from bayesmeta.distributions.samplers import draw
from bayesmeta.distributions.supports import has_own_density, log_prob_within
from bayesmeta.running.followed import Column, Following, followed
from bayesmeta.running.isolation import at_dtype, unvalidated
from bayesmeta.running.sites import (
    Choice,
    Chooser,
    FlatPrior,
    Plate,
    PlateError,
    Site,
    SiteNameError,
    SiteShapeError,
    flat_param,
    flat_site,
    own_mask,
)

Model = Callable[[Tasks], Any]


class _Recorder(Messenger):
    """Chooses the value of each latent site, and records every site with its log density."""

    def __init__(
        self,
        choose: Chooser | None,
        provenance: bool,
        held: Mapping[str, Tensor],
        bounded: Collection[str],
    ) -> None:
        super().__init__()
        self.choose = choose
        self.held = held
        self.bounded = bounded
        self.provenance = provenance
        self.sites: dict[str, Site] = {}

    def _pyro_sample(self, msg: Message) -> None:
        if _is_deterministic(msg) and msg["name"] in self.held:
            # What follows reads the held value; recorded is the one it has.
            msg["infer"] = {**(msg["infer"] or {}), "_computed": msg["value"]}
            msg["value"] = self.held[str(msg["name"])]
        if msg["is_observed"] or _is_subsample(msg):
            return
        if type(msg["fn"]) is dist.ImproperUniform:
            msg["fn"] = flat_site(msg["fn"])
        self._choose(msg, msg["fn"])
        if not (msg["done"] or msg["args"] or msg["kwargs"]):
            msg["value"], msg["done"] = draw(msg["fn"]), True

    def _pyro_param(self, msg: Message) -> None:
        if self.choose is None:
            return
        # The chooser needs shape and support, which only Pyro's own initialisation tells.
        with pyro.poutine.block():
            value = _as_the_data(pyro.param(*msg["args"], **msg["kwargs"]))
        self._choose(msg, _flat_prior(value, msg))

    def _choose(self, msg: Message, fn: Any) -> None:
        choice = self.choose(str(msg["name"]), fn) if self.choose is not None else None
        if choice is not None:
            msg["value"], msg["done"] = choice.value, True
            msg["infer"] = {**(msg["infer"] or {}), "_choice": choice}

    def _pyro_post_sample(self, msg: Message) -> None:
        if not _is_subsample(msg):
            self._record(msg, msg["fn"])

    def _pyro_post_param(self, msg: Message) -> None:
        msg["value"] = _as_the_data(msg["value"])
        self._record(msg, _flat_prior(detach_provenance(msg["value"]), msg))

    def _record(self, msg: Message, fn: Any) -> None:
        name = str(msg["name"])
        if name in self.sites and not (msg["type"] == "param" and self.sites[name].is_param):
            raise SiteNameError(f"two statements are named '{name}'; give each its own name")
        infer = msg["infer"] or {}
        value, origin = infer.get("_computed", msg["value"]), frozenset[str]()
        choice = infer.get("_choice")
        is_deterministic = _is_deterministic(msg)
        columns = frozenset[str]()
        log_prob = choice.log_prob if choice is not None else None
        if log_prob is None:
            log_prob = (
                torch.zeros(()) if is_deterministic else _log_prob(msg, fn, name in self.bounded)
            )
        if self.provenance:
            # What the density reads, less the site's own value.
            read = get_provenance(value if is_deterministic else log_prob) - {name}
            columns = frozenset(one.name for one in read if isinstance(one, Column))
            origin = frozenset(one for one in read if isinstance(one, str))
            log_prob, value = detach_provenance(log_prob), detach_provenance(value)
            msg["value"] = track_provenance(value, frozenset({name}))
        whole = _handled(log_prob, choice, msg)
        there = None
        if choice is not None and choice.idle is not None:
            there = _there(choice, msg).expand(choice.idle.shape)
            whole = torch.where(there, whole, choice.idle)
        self.sites[name] = Site(
            name=name,
            fn=fn,
            value=value,
            is_observed=bool(msg["is_observed"]) and not is_deterministic,
            is_param=msg["type"] == "param",
            is_deterministic=is_deterministic,
            plates=_plates(msg),
            log_prob=whole,
            provenance=origin,
            plain=log_prob,
            scale=msg["scale"],
            mask=msg["mask"],
            there=there,
            columns=columns,
        )


class _Unweighted(Messenger):
    """Undoes `poutine.scale` around what is observed."""

    def _pyro_sample(self, msg: Message) -> None:
        if msg["is_observed"]:
            msg["scale"] = 1.0


def unweighted(model: Model) -> Model:
    """The model with each datapoint counting once, whatever `poutine.scale` says."""

    def once(tasks: Tasks) -> Any:
        with _Unweighted():
            return model(tasks)

    return once


class _SubsampleGuard(Messenger):
    """Refuses plates of no size, and of an order or a subsample of their own."""

    def _pyro_sample(self, msg: Message) -> None:
        if not _is_subsample(msg):
            return
        name, size, given = msg["name"], msg["fn"].size, msg["value"]
        if not isinstance(size, Integral | Tensor) or size < 1:
            raise PlateError(
                f"plate '{name}' has size {size!r}, but a whole number of at least 1 is expected; "
                "write tasks.num_tasks for the plate 'tasks', and tasks.num_data for 'data'"
            )
        in_order = given is None or torch.as_tensor(given).tolist() == list(range(int(size)))
        if not in_order or msg["fn"].subsample_size not in (None, size):
            raise PlateError(
                f"plate '{name}' takes a subsample, or an order, of its own, by which rows and "
                "tasks would no longer meet; drop subsample= and subsample_size=, since the "
                "library draws minibatches of tasks: theta=bm.Gaussian(batch_size=...)"
            )


def _as_the_data(value: Tensor) -> Tensor:
    """A parameter where the data are and in their dtype: a network's are in float32 on the CPU."""
    moved = value.to(torch.get_default_device())
    return moved.to(torch.get_default_dtype()) if moved.is_floating_point() else moved


def _is_deterministic(msg: Message) -> bool:
    """Whether it is `pyro.deterministic`, or what `poutine.reparam` leaves of a site."""
    fn = msg["fn"]
    is_masked = isinstance(fn, dist.MaskedDistribution) and fn._mask is False
    by_reparam = msg["is_observed"] and is_masked and isinstance(fn.base_dist, dist.Delta)
    return by_reparam or bool((msg["infer"] or {}).get("_deterministic"))


def _is_subsample(msg: Message) -> bool:
    return type(msg["fn"]).__name__ == "_Subsample"


def _flat_prior(value: Tensor, msg: Message) -> FlatPrior:
    return flat_param(msg["kwargs"].get("constraint", dist.constraints.real), value.detach())


def _handled(log_prob: Tensor, choice: Choice | None, msg: Message) -> Tensor:
    """A log density as the handlers around its site scale and mask it, less the Jacobian."""
    scale, mask = msg["scale"], msg["mask"]
    is_plain = mask is None and isinstance(scale, int | float) and scale == 1
    if is_plain or choice is None or choice.jacobian is None:
        return scale_and_mask(log_prob, scale, mask)
    return scale_and_mask(log_prob - choice.jacobian, scale, mask) + choice.jacobian


def _there(choice: Choice, msg: Message) -> Tensor:
    """The datapoints that are no padding, and that no handler masks; a mask of all is a flat prior.

    So a covariate that is missing in some rows, given as `obs_mask=`, is no latent in the others.
    """
    assert choice.there is not None
    return choice.there & msg["mask"] if isinstance(msg["mask"], Tensor) else choice.there


def _plates(msg: Message) -> tuple[Plate, ...]:
    """Outermost first, as Pyro's frames are: each plate, from the innermost, puts its in front."""
    return tuple(Plate(f.name, f.dim, int(f.size)) for f in msg["cond_indep_stack"])


def _log_prob(msg: Message, fn: Any, is_bounded: bool) -> Tensor:
    given, expected = tuple(msg["value"].shape), tuple(fn.shape())
    try:
        # What is masked may hold anything, as a placeholder that has no density.
        is_masked = msg["is_observed"] and not (msg["mask"] is None and own_mask(fn) is None)
        if is_bounded or is_masked or has_own_density(fn):
            return log_prob_within(fn, msg["value"])
        return fn.log_prob(msg["value"])
    except (RuntimeError, ValueError) as error:
        if given == expected:
            raise
        raise SiteShapeError(
            f"site '{msg['name']}' has values of shape {given}, but its distribution and plates "
            f"give {expected}; its plates are "
            + (
                ", ".join(f"'{p.name}' (dim={p.dim}, size {p.size})" for p in _plates(msg))
                or "none"
            )
        ) from error


@contextlib.contextmanager
def _modules_read_params() -> Iterator[None]:
    """Let networks read what the handlers give as parameters, and have their own back after.

    `pyro.module` registers parameters, but the network goes on to read its own tensors.
    """
    original = pyro.module
    own: dict[torch.nn.Module, dict[str, Any]] = {}

    def module(name: str, nn_module: torch.nn.Module, update_module_params: bool = True) -> Any:
        if nn_module in own:
            return nn_module
        own.update({part: dict(part._parameters) for part in nn_module.modules()})
        return original(name, nn_module, update_module_params=True)

    pyro.module = module
    try:
        yield
    finally:
        pyro.module = original
        for part, parameters in own.items():
            part._parameters.update(parameters)


def run(
    model: Model,
    tasks: Tasks,
    choose: Chooser | None = None,
    *,
    provenance: bool = False,
    held: Mapping[str, Tensor] = MappingProxyType({}),
    bounded: Collection[str] = (),
) -> dict[str, Site]:
    """Run the model once and return its sites in order.

    Args:
        model: a Pyro function of the tasks.
        tasks: the data; y=None draws the outcomes.
        choose: gives the value of a latent site or parameter from its name and distribution, or
            None to draw it (from the current random state).
        provenance: whether to follow, value by value, which sites and columns each density reads.
        held: what the model goes on with after a deterministic site, by its name.
        bounded: the sites whose values may be outside of their support, where the density is zero.

    Raises:
        PlateError: where a plate has no size, or a subsample of its own.
        SiteNameError: where two sample statements share a name.
    """
    recorder = _Recorder(choose, provenance, held, bounded)
    store, modules = pyro.get_param_store().scope(), _modules_read_params()
    guard, rewrite = _SubsampleGuard(), rewritten()
    rows = real_rows_are(tasks.mask if tasks.ragged else None)
    with at_dtype(tasks.dtype), unvalidated(), rewrite, store, modules, guard, recorder, rows:
        if not provenance:
            model(tasks)
            return recorder.sites
        with Following() as following:
            model(followed(tasks))
    found = {}
    for name, site in recorder.sites.items():
        read = {*site.provenance, *map(Column, site.columns)}
        doubtful = following.packed & read
        found[name] = replace(site, has_left=name in following.left, doubtful=doubtful)
    return found
