"""What the networks have in common: enlarging, and the start at scale 1, where nothing is enlarged."""

from torch import Tensor, nn
from torch.nn import functional as F


class BicubicEnlargement(nn.Module):
    """Bicubic interpolation by a whole factor; by 1 it is nothing at all, in an exported graph too."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        if self.scale == 1:
            return x
        return F.interpolate(x, scale_factor=float(self.scale), mode="bicubic", align_corners=False)


def pixel_shuffle(scale: int) -> nn.Module:
    """nn.PixelShuffle; by 1 it is nothing at all, in an exported graph too."""
    return nn.Identity() if scale == 1 else nn.PixelShuffle(scale)


def start_at_zero(layer: nn.Conv2d) -> None:
    """Clear a convolution, in place. What it adds to the picture is then nothing until it has been trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
