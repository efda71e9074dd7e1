"""WDSR: wide activations in narrow residual blocks (Yu et al., BMVC 2019), the variant of the STDO paper's tables."""

import math

from torch import Tensor, nn

from models.channels import Channels, channel_count
from models.layers import pixel_shuffle, start_at_zero

_MEAN = 0.5  # The middle of the picture's range, taken off before the first layer and put back after the last.


class _WideBlock(nn.Module):
    def __init__(self, *, features: int, expansion: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(features, features * expansion, 3, padding=1)
        self.activation = nn.ReLU(inplace=True)
        self.project = nn.Conv2d(features * expansion, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.project(self.activation(self.expand(x)))
        return x + residual


class Wdsr(nn.Module):
    """Residual blocks of two 3x3 convolutions at the base frame's size, beside a 5x5 convolution; then a pixel shuffle.

    At scale 1 all of that makes a residual, which starts at zero: the fresh network gives what it gets.

    The module holds plain weights; training wraps them in weight norm (`models.weight_norm`). They start at what the
    WDSR recipe gives: filters of norm 1, and of 1/sqrt(blocks) at the end of each block, so that the sum of all
    residuals starts at the size of one.
    forward: (B, C, H, W) in [0, 1] -> (B, C, scale*H, scale*W), not clamped.
    """

    def __init__(
        self, *, scale: int, channels: Channels, blocks: int = 16, features: int = 32, expansion: int = 4
    ) -> None:
        super().__init__()
        planes = channel_count(channels)
        self.scale = scale
        self.head = nn.Conv2d(planes, features, 3, padding=1)
        self.body = nn.Sequential(*(_WideBlock(features=features, expansion=expansion) for _ in range(blocks)))
        self.tail = nn.Conv2d(features, planes * scale**2, 3, padding=1)
        self.skip = nn.Conv2d(planes, planes * scale**2, 5, padding=2)
        self.shuffle = pixel_shuffle(scale)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d):
                _set_filter_norms(layer, norm=1 / math.sqrt(blocks) if name.endswith(".project") else 1.0)
        if scale == 1:
            start_at_zero(self.tail)
            start_at_zero(self.skip)

    def forward(self, x: Tensor) -> Tensor:
        centred = x - _MEAN
        restored: Tensor = self.shuffle(self.tail(self.body(self.head(centred))) + self.skip(centred))
        return restored + (x if self.scale == 1 else _MEAN)


def _set_filter_norms(layer: nn.Conv2d, *, norm: float) -> None:
    """Scale every output filter to one L2 norm and clear the bias."""
    filters = layer.weight.data.flatten(1)
    filters.mul_(norm / filters.norm(dim=1, keepdim=True))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
