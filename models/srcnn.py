"""SRCNN (Dong et al., TPAMI 2016), in the 9-5-5 form of the STDO paper's tables."""

from torch import Tensor, nn
from torch.nn import functional as F

from models.channels import Channels, channel_count


class Srcnn(nn.Module):
    """Bicubic upsampling, then convolutions of 9x9 (64 features), 5x5 (32 features) and 5x5 at high resolution.

    forward: (B, C, H, W) in [0, 1] -> (B, C, scale*H, scale*W), not clamped.
    """

    def __init__(self, *, scale: int, channels: Channels) -> None:
        super().__init__()
        planes = channel_count(channels)
        self.scale = scale
        self.extract = nn.Conv2d(planes, 64, 9, padding=4)
        self.map = nn.Conv2d(64, 32, 5, padding=2)
        self.reconstruct = nn.Conv2d(32, planes, 5, padding=2)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        upsampled = F.interpolate(x, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
        features = self.activation(self.map(self.activation(self.extract(upsampled))))
        high_res: Tensor = self.reconstruct(features)
        return high_res
