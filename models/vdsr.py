"""VDSR: a deep plain network that predicts the residual over bicubic enlargement (Kim et al., CVPR 2016)."""

from itertools import pairwise

from torch import Tensor, nn

from models.channels import Channels, channel_count
from models.layers import BicubicEnlargement, start_at_zero


class Vdsr(nn.Module):
    """Bicubic enlargement, `layers` 3x3 convolutions at the picture's size, and a global residual.

    At scale 1 the residual starts at zero: the fresh network gives what it gets.
    forward: (B, C, H, W) in [0, 1] -> (B, C, scale*H, scale*W), not clamped.
    """

    def __init__(self, *, scale: int, channels: Channels, layers: int = 20, features: int = 64) -> None:
        super().__init__()
        planes = channel_count(channels)
        self.enlarge = BicubicEnlargement(scale)
        self.hidden = nn.Sequential(
            *(_convolution_with_relu(before, after) for before, after in pairwise([planes, *[features] * (layers - 1)]))
        )
        self.residual = nn.Conv2d(features, planes, 3, padding=1)
        # A small last layer starts the network near plain bicubic enlargement, so that training doesn't first
        # have to undo noise as large as the picture.
        nn.init.normal_(self.residual.weight, std=1e-3)
        if scale == 1:
            start_at_zero(self.residual)

    def forward(self, x: Tensor) -> Tensor:
        enlarged: Tensor = self.enlarge(x)
        residual: Tensor = self.residual(self.hidden(enlarged))
        return enlarged + residual


def _convolution_with_relu(before: int, after: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, padding=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.ReLU(inplace=True))
