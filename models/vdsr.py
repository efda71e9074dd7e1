"""VDSR: a deep plain network that predicts the residual over bicubic upsampling (Kim et al., CVPR 2016)."""

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
        widths = [planes, *[features] * (layers - 1), planes]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in zip(widths[:-1], widths[1:], strict=True)
        )
        self.activation = nn.ReLU(inplace=True)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        # A small last layer starts the network near plain bicubic upsampling, so that training doesn't first
        # have to undo noise as large as the picture.
        self.layers[-1].weight.data.mul_(0.01)

    def forward(self, x: Tensor) -> Tensor:
        upsampled = F.interpolate(x, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
        features = upsampled
        for layer in self.layers[:-1]:
            features = self.activation(layer(features))
        residual: Tensor = self.layers[-1](features)
        return upsampled + residual
