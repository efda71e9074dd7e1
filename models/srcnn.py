"""SRCNN (Dong et al., TPAMI 2016), in the 9-5-5 form of the STDO paper's tables."""

from torch import Tensor, nn

from models.channels import Channels, channel_count
from models.layers import BicubicEnlargement, start_at_zero


class Srcnn(nn.Module):
    """Bicubic enlargement, then convolutions of 9x9 (64 features), 5x5 (32 features) and 5x5 at the picture's size.

    At scale 1 they make a residual, which starts at zero: the fresh network gives what it gets.
    forward: (B, C, H, W) in [0, 1] -> (B, C, scale*H, scale*W), not clamped.
    """

    def __init__(self, *, scale: int, channels: Channels) -> None:
        super().__init__()
        planes = channel_count(channels)
        self.scale = scale
        self.enlarge = BicubicEnlargement(scale)
        self.extract = nn.Conv2d(planes, 64, 9, padding=4)
        self.map = nn.Conv2d(64, 32, 5, padding=2)
        self.reconstruct = nn.Conv2d(32, planes, 5, padding=2)
        self.activation = nn.ReLU(inplace=True)
        if scale == 1:
            start_at_zero(self.reconstruct)

    def forward(self, x: Tensor) -> Tensor:
        features = self.activation(self.map(self.activation(self.extract(self.enlarge(x)))))
        restored: Tensor = self.reconstruct(features)
        return x + restored if self.scale == 1 else restored
