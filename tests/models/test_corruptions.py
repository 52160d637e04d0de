"""corruptions: each does what it says, by the severity asked for, and stays within 0..1."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import norm

from bayesmeta.models import corruptions as c

GREY = torch.full((4, 1, 28, 28), 0.5)
SPLIT = torch.cat([torch.zeros(4, 1, 28, 14), torch.ones(4, 1, 28, 14)], -1)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_noise_has_the_published_size(severity):
    k = severity - 1
    sd = float(c.gaussian_noise(GREY, severity).std())
    assert sd == pytest.approx(c.GAUSSIAN_NOISE[k], rel=0.05)
    sd = float(c.shot_noise(GREY, severity).std())
    assert sd == pytest.approx((0.5 / c.SHOT_NOISE[k]) ** 0.5, rel=0.05)
    changed = float((c.impulse_noise(GREY, severity) != GREY).float().mean())
    assert changed == pytest.approx(c.IMPULSE_NOISE[k], rel=0.25)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_a_blurred_edge_is_a_normal_distribution_function(severity):
    found = c.gaussian_blur(SPLIT, severity)[0, 0, 14]
    sd = c.GAUSSIAN_BLUR[severity - 1]
    cells = torch.arange(28)
    # Pixels are sampled at their middles: steps of the discrete kernel, summed up.
    weights = torch.tensor(norm.pdf(torch.arange(-8, 9), scale=sd))
    exact = torch.stack([(weights * (cells[i] + torch.arange(-8, 9) >= 14)).sum() for i in cells])
    torch.testing.assert_close(found.double(), exact / weights.sum(), atol=1e-3, rtol=0)


def test_contrast_and_brightness_are_affine():
    image = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    mean = image.mean((-2, -1), keepdim=True)
    torch.testing.assert_close(c.contrast(image, 4), mean + 0.3 * (image - mean))
    torch.testing.assert_close(c.brightness(image, 2), (image + 0.1).clamp(max=1))


@pytest.mark.parametrize(
    "corrupt",
    [
        c.gaussian_noise,
        c.shot_noise,
        c.impulse_noise,
        c.gaussian_blur,
        c.contrast,
        c.brightness,
    ],
)
def test_more_severe_is_further_and_grey_values_stay(corrupt):
    image = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    moved = [float((corrupt(image, s) - image).abs().mean()) for s in range(1, 6)]
    assert moved == sorted(moved) and moved[0] > 0
    assert corrupt(image, 5).min() >= 0 and corrupt(image, 5).max() <= 1
    with pytest.raises(ValueError, match="severity=6"):
        corrupt(image, 6)
