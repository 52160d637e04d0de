"""corruptions: images made worse in the ways, and by the severities, of CIFAR-10-C.

Hendrycks & Dietterich (2019, arXiv:1903.12261) corrupt images in fifteen ways of five severities
each; those that need no image library are here, for grey values in 0..1 of any size. Severities are
the ones published for images of 32 pixels (github.com/hendrycks/robustness, make_cifar_c.py).
"""

from __future__ import annotations

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

GAUSSIAN_NOISE = (0.04, 0.06, 0.08, 0.09, 0.10)  # sd
SHOT_NOISE = (500, 250, 100, 75, 50)  # photons at white
IMPULSE_NOISE = (0.01, 0.02, 0.03, 0.05, 0.07)  # share of pixels
GAUSSIAN_BLUR = (0.4, 0.6, 0.7, 0.8, 1.0)  # sd, in pixels
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)  # factor around the image's mean
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)  # added


def gaussian_noise(images: Tensor, severity: int = 5, seed: int = 0) -> Tensor:
    """Normal noise on every pixel of images (..., height, width)."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return (images + _of(GAUSSIAN_NOISE, severity) * noise).clamp(0, 1)


def shot_noise(images: Tensor, severity: int = 5, seed: int = 0) -> Tensor:
    """Poisson noise, as of few photons."""
    photons = _of(SHOT_NOISE, severity)
    generator = torch.Generator().manual_seed(seed)
    return (torch.poisson(images * photons, generator=generator) / photons).clamp(0, 1)


def impulse_noise(images: Tensor, severity: int = 5, seed: int = 0) -> Tensor:
    """Salt and pepper: some pixels are black or white, as likely."""
    share = _of(IMPULSE_NOISE, severity)
    chance = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed))
    pepper = torch.where(chance < share / 2, 0.0, images)
    return torch.where(chance > 1 - share / 2, 1.0, pepper)


def gaussian_blur(images: Tensor, severity: int = 5) -> Tensor:
    """Each image convolved with a normal density; its border stays as bright as it was."""
    sd = _of(GAUSSIAN_BLUR, severity)
    width = (*[0] * (images.dim() - 2), sd, sd)
    blurred = gaussian_filter(images.numpy(), width, mode="nearest")
    return torch.from_numpy(blurred).clamp(0, 1)


def contrast(images: Tensor, severity: int = 5) -> Tensor:
    """Grey values drawn together around the mean of each image."""
    mean = images.mean((-2, -1), keepdim=True)
    return (mean + _of(CONTRAST, severity) * (images - mean)).clamp(0, 1)


def brightness(images: Tensor, severity: int = 5) -> Tensor:
    """Grey values raised."""
    return (images + _of(BRIGHTNESS, severity)).clamp(0, 1)


def _of(levels: tuple[float, ...], severity: int) -> float:
    if not 1 <= severity <= len(levels):
        raise ValueError(f"severity={severity} was asked for; there are 1, the mildest, to 5")
    return levels[severity - 1]
