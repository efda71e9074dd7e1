"""ESPCN: sub-pixel convolution (Shi et al., CVPR 2016), with the layer widths of the STDO paper's tables."""

import math

from torch import Tensor, nn

from models.channels import Channels, channel_count
from models.layers import pixel_shuffle, start_at_zero


class Espcn(nn.Module):
    """Four 3x3 convolutions at the base frame's size (64, 64, 32 features), then a pixel shuffle.

    At scale 1 they make a residual, which starts at zero: the fresh network gives what it gets.
    forward: (B, C, H, W) in [0, 1] -> (B, C, scale*H, scale*W), not clamped.
    """

    def __init__(self, *, scale: int, channels: Channels) -> None:
        super().__init__()
        planes = channel_count(channels)
        self.scale = scale
        self.features = nn.Sequential(
            nn.Conv2d(planes, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 32, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.upsample = nn.Conv2d(32, planes * scale**2, 3, padding=1)
        self.shuffle = pixel_shuffle(scale)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.orthogonal_(layer.weight, gain=math.sqrt(2))
        nn.init.orthogonal_(self.upsample.weight)
        if scale == 1:
            start_at_zero(self.upsample)

    def forward(self, x: Tensor) -> Tensor:
        restored: Tensor = self.shuffle(self.upsample(self.features(x)))
        return x + restored if self.scale == 1 else restored
