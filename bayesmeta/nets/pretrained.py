"""Networks that were trained elsewhere, in a form whose output rests on weights and input alone."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

_Norm = nn.modules.batchnorm._NormBase
# Dimensions of the inputs of layers; 4 where it is none of these.
_DIM = {nn.BatchNorm1d: 2, nn.BatchNorm3d: 5, nn.InstanceNorm1d: 3, nn.InstanceNorm3d: 5}


def pretrained(module: nn.Module) -> nn.Module:
    """A copy of a trained module for `Net`: what it computes in eval mode, weights still free.

        net = bm.nets.Net(bm.nets.pretrained(resnet))

    Batch normalisation by running statistics becomes `FixedNorm`, in which they are constants;
    dropout becomes the identity; stochastic depth, and whatever else asks for the mode, is in eval
    mode. Layers keep their names, and parameters theirs.

    Args:
        module: any torch module; it is left as it is.

    Raises:
        TypeError: for what is no torch module.
        ValueError: for batch normalisation that has no running statistics, or computes something of
            its own; it names the layer.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"pretrained got {module!r}; give a torch module, with its weights loaded")
    for name, part in module.named_modules():
        if isinstance(part, _Norm):
            _check(name, part)
    return _as_evaluated(copied(module).eval(), {})


def copied(module: nn.Module) -> nn.Module:
    """A copy, also of a module whose hooks keep what they computed, which torch does not copy."""
    kept = (x for part in module.modules() for x in vars(part).values() if isinstance(x, Tensor))
    return copy.deepcopy(module, {id(x): x.detach().clone() for x in kept if x.grad_fn})


class FixedNorm(nn.Module):
    """Normalisation by statistics that are constants, as batch normalisation has it in eval mode.

        y = weight * (x - running_mean) / sqrt(running_var + eps) + bias

    Affine in x; weight and bias are parameters, where the layer has them.

    Args:
        layer: what it stands for. Layers inside it (timm's dropout and activation) follow.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, layer: _Norm) -> None:
        super().__init__()
        self.eps = layer.eps
        self.register_parameter("weight", layer.weight)
        self.register_parameter("bias", layer.bias)
        self.register_buffer("running_mean", layer.running_mean)
        self.register_buffer("running_var", layer.running_var)
        for name, part in layer.named_children():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        """(examples, channels, ...) to the same."""
        scale = torch.rsqrt(self.running_var + self.eps)
        scale = scale if self.weight is None else scale * self.weight
        shift = -self.running_mean * scale
        shift = shift if self.bias is None else shift + self.bias
        each = (-1, *[1] * (x.dim() - 2))
        y = torch.addcmul(shift.view(each), x, scale.view(each))
        for part in self.children():
            y = part(y)
        return y


class HeldPadding(nn.Module):
    """Rows of a table, of which that of `padding_idx` is a constant, as training leaves it.

    The table may be another layer's weights too, for which that row is one like the others.

    Args:
        layer: what it stands for.
    """

    weight: nn.Parameter
    padding: Tensor

    def __init__(self, layer: nn.Embedding) -> None:
        super().__init__()
        assert layer.padding_idx is not None
        self.index = layer.padding_idx
        self.register_parameter("weight", layer.weight)  # type: ignore[arg-type]
        self.register_buffer("padding", layer.weight[layer.padding_idx].detach().clone())

    def reset_parameters(self) -> None:
        """As the layer does."""
        nn.init.normal_(self.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """(...) to (..., width)."""
        rows = nn.functional.embedding(tokens, self.weight)
        return torch.where((tokens == self.index)[..., None], self.padding, rows)


def with_held_padding(module: nn.Module) -> nn.Module:
    """The module with its plain embeddings that have a row of padding replaced in place."""
    if type(module) is nn.Embedding and module.padding_idx is not None:
        plain = module.max_norm is None and not module.scale_grad_by_freq
        if plain and "weight" in module._parameters and not module._forward_hooks:
            return HeldPadding(module)
    for name, child in module.named_children():
        setattr(module, name, with_held_padding(child))
    return module


def _as_evaluated(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """The module with its layers replaced in place; one that stands in two places is kept one."""
    if module not in done:
        for name, part in module._modules.items():
            if part is not None:
                module._modules[name] = _as_evaluated(part, done)
        done[module] = _stand_in(module)
    return done[module]


def _stand_in(part: nn.Module) -> nn.Module:
    if isinstance(part, nn.modules.dropout._DropoutNd):
        return nn.Identity()
    if isinstance(part, _Norm) and part.running_mean is not None:
        return FixedNorm(part)
    if isinstance(part, nn.MultiheadAttention):
        part.dropout = 0.0
    # In eval mode they take a fused path that has no derivative.
    part.training = isinstance(part, (nn.MultiheadAttention, nn.TransformerEncoderLayer))
    return part


def _check(name: str, layer: _Norm) -> None:
    what = f"layer '{name}' ({type(layer).__name__})"
    if layer.running_mean is None:
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"{what} has no running statistics, so that its output rests on the whole batch "
                "in eval mode too; where that is meant, put bm.nets.TransductiveBatchNorm2d there"
            )
    elif not type(layer).__module__.startswith("torch.nn.") and not _is_plain(layer):
        raise ValueError(
            f"{what} computes something else than batch normalisation by running statistics; put "
            "torch's own layer there, or GroupNorm"
        )


def _is_plain(layer: _Norm) -> bool:
    """Whether a subclass with a forward of its own agrees with FixedNorm on noise."""
    layer = copy.deepcopy(layer).eval()
    dim = next((d for kind, d in _DIM.items() if isinstance(layer, kind)), 4)
    shape = (2, layer.num_features, *[2] * (dim - 2))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(layer.running_mean)
    with torch.no_grad():
        return torch.allclose(FixedNorm(layer)(x.clone()), layer(x), rtol=1e-3, atol=1e-3)
