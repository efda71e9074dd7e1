"""VDSR: a deep plain network that predicts the residual over bicubic upsampling (Kim et al., CVPR 2016)."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from models.channels import Channels, channel_count


class Vdsr(nn.Module):
    """Bicubic upsampling, `layers` 3x3 convolutions at high resolution, and a global residual.

    forward: (B, C, H, W) in [0, 1] -> (B, C, scale*H, scale*W), not clamped.
    """

    def __init__(self, *, scale: int, channels: Channels, layers: int = 20, features: int = 64) -> None:
        super().__init__()
        planes = channel_count(channels)
        self.scale = scale
        self.hidden = nn.Sequential(
            *(_convolution_with_relu(before, after) for before, after in pairwise([planes, *[features] * (layers - 1)]))
        )
        self.residual = nn.Conv2d(features, planes, 3, padding=1)
        # A small last layer starts the network near plain bicubic upsampling, so that training doesn't first
        # have to undo noise as large as the picture.
        nn.init.normal_(self.residual.weight, std=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        upsampled = F.interpolate(x, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
        residual: Tensor = self.residual(self.hidden(upsampled))
        return upsampled + residual


def _convolution_with_relu(before: int, after: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, padding=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.ReLU(inplace=True))
