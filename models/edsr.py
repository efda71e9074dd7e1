"""EDSR: residual blocks without batch normalisation (Lim et al., CVPR workshops 2017)."""

from torch import Tensor, nn

from models.channels import Channels, channel_count
from models.layers import start_at_zero


class _ResidualBlock(nn.Module):
    def __init__(self, *, features: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(features, features, 3, padding=1)
        self.activation = nn.ReLU(inplace=True)
        self.project = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.project(self.activation(self.expand(x)))
        return x + residual


def _upsampler(*, scale: int, features: int) -> nn.Sequential:
    """Pixel shuffles by 2 or 3 whose product is the scale, as in the EDSR paper (x4 is twice 2); none at scale 1."""
    factors = {1: [], 4: [2, 2]}.get(scale, [scale])
    layers: list[nn.Module] = []
    for factor in factors:
        layers += [nn.Conv2d(features, features * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)


class Edsr(nn.Module):
    """Residual blocks at the base frame's size, pixel-shuffle upsampling of the features, one convolution at the end.

    At scale 1 that one makes a residual, which starts at zero: the fresh network gives what it gets.
    The mean shift that the EDSR paper describes is left out, as in the STDO paper's baseline.
    forward: (B, C, H, W) in [0, 1] -> (B, C, scale*H, scale*W), not clamped.
    """

    def __init__(self, *, scale: int, channels: Channels, blocks: int = 16, features: int = 64) -> None:
        super().__init__()
        planes = channel_count(channels)
        self.scale = scale
        self.head = nn.Conv2d(planes, features, 3, padding=1)
        self.body = nn.Sequential(*(_ResidualBlock(features=features) for _ in range(blocks)))
        self.fuse = nn.Conv2d(features, features, 3, padding=1)
        self.upsample = _upsampler(scale=scale, features=features)
        self.tail = nn.Conv2d(features, planes, 3, padding=1)
        if scale == 1:
            start_at_zero(self.tail)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        deep = self.fuse(self.body(shallow))
        restored: Tensor = self.tail(self.upsample(shallow + deep))
        return x + restored if self.scale == 1 else restored
