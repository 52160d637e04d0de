"""SplineFlow: a guide that is not normal, a neural spline flow around one that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bayesmeta.amortisation.guides import Anchor, FullNormal, Guide
from bayesmeta.data.arguments import check_wholes
from bayesmeta.running.isolation import isolated

_BASE = FullNormal()


@dataclass(frozen=True)
class SplineFlow(Guide):
    """A normal with a full covariance whose noise is bent first (Durkan et al. 2019).

        phi = mean + C^{-T} f(e; c),   e ~ N(0, I)

    with mean and C as `FullNormal` has them and f a coupling flow of monotonic rational-quadratic
    splines, given numbers c of the task by the network. With n = 0 it is the prior. For posteriors
    that are skewed, heavy-tailed or curved. The flow is zuko's (Rozet et al. 2022).

    Attributes:
        context: how many numbers c has.
        transforms: layers of f.
        bins: of each spline.
        width: hidden units of the layers' networks.
    """

    context: int = 16
    transforms: int = 2
    bins: int = 8
    width: int = 32

    def __post_init__(self) -> None:
        check_wholes(self, "context", "transforms", "bins", "width")

    def start(self, d_phi: int, seed: int = 0) -> list[Tensor]:
        """The flow's weights."""
        return [p.detach().clone() for p in _flow(d_phi, self, seed).parameters()]

    def numbers(self, d_phi: int) -> int:
        """Those of the normal, and c."""
        return _BASE.numbers(d_phi) + self.context

    def draw(
        self,
        weights: Sequence[Tensor],
        numbers: Tensor,
        count: Tensor,
        anchor: Anchor,
        noise: Tensor,
    ) -> Tensor:
        """The normal's draw of bent noise."""
        normal, context = self._split(numbers, noise)
        bent, _ = self._run(weights, noise, context, inverse=False)
        return _BASE.draw((), normal, count, anchor, torch.where(count > 0, bent, noise))

    def log_prob(
        self, weights: Sequence[Tensor], numbers: Tensor, count: Tensor, anchor: Anchor, phi: Tensor
    ) -> Tensor:
        """The normal's, less what bending does to volumes."""
        normal, context = self._split(numbers, phi)
        bent = _BASE.whiten(normal, count, anchor, phi)
        noise, log_det = self._run(weights, bent, context, inverse=True)
        noise = torch.where(count > 0, noise, bent)
        log_det = torch.where(count[:, 0] > 0, log_det, 0.0)
        base = _BASE.log_prob((), normal, count, anchor, phi)
        return base + 0.5 * (bent.square() - noise.square()).sum(-1) + log_det

    def _split(self, numbers: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        normal, context = numbers.split([numbers.shape[-1] - self.context, self.context], -1)
        return normal, context.expand(*like.shape[:-1], -1)

    def _run(
        self, weights: Sequence[Tensor], x: Tensor, context: Tensor, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        """f or its inverse at x, and the log determinant of its derivative."""
        flow = self._flow(x.shape[-1])
        named = dict(zip(dict(flow.named_parameters()), weights, strict=True))
        named |= {name: buffer.to(x.device) for name, buffer in flow.named_buffers()}
        found: tuple[Tensor, Tensor] = functional_call(flow, named, (x, context, inverse))
        return found

    def _flow(self, d_phi: int) -> _Flow:
        return _flow(d_phi, self, 0)


class _Flow(nn.Module):
    def __init__(self, transform: nn.Module) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, x: Tensor, context: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        transform = self.transform(context)
        found: tuple[Tensor, Tensor]
        found = (transform.inv if inverse else transform).call_and_ladj(x)
        return found


@lru_cache(maxsize=128)
def _flow(d_phi: int, guide: SplineFlow, seed: int) -> _Flow:
    """A start near the identity."""
    import zuko

    with isolated(seed), torch.no_grad():
        flow = zuko.flows.NSF(
            features=d_phi,
            context=guide.context,
            bins=guide.bins,
            transforms=guide.transforms,
            passes=min(2, d_phi),
            hidden_features=(guide.width, guide.width),
        )
        for part in flow.transform.modules():
            hyper = getattr(part, "hyper", None)
            if hyper is not None:
                for parameter in list(hyper.parameters())[-2:]:
                    parameter.mul_(0.1)
        return _Flow(flow.transform)
