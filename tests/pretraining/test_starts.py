"""Training starts near bicubic interpolation, or near the trained x2 network."""

import pytest
import torch
from torch.nn import functional as F

from models.registry import build_network
from pretraining.starts import start_from_other_scale, start_near_interpolation


def _smooth_picture() -> torch.Tensor:
    coarse = torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, size=(40, 48), mode="bicubic", align_corners=False).clamp(0, 1)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("architecture", ["espcn", "wdsr-small"])
def test_fresh_network_starts_near_bicubic_interpolation(architecture: str, scale: int) -> None:
    torch.manual_seed(0)
    network = build_network(architecture, scale=scale, channels="rgb").eval()
    picture = _smooth_picture()
    expected = F.interpolate(picture, scale_factor=float(scale), mode="bicubic", align_corners=False)

    def error() -> float:
        with torch.no_grad():
            return float((network(picture) - expected)[..., 16:-16, 16:-16].abs().mean())

    fresh = error()
    start_near_interpolation(network)
    assert error() < 0.05 < fresh


@pytest.mark.parametrize("scale", [3, 4])
@pytest.mark.parametrize("architecture", ["espcn", "wdsr-small"])
def test_other_scale_starts_with_the_picture_of_the_trained_network(architecture: str, scale: int) -> None:
    torch.manual_seed(0)
    trained = build_network(architecture, scale=2, channels="rgb").eval()
    start_near_interpolation(trained)
    network = build_network(architecture, scale=scale, channels="rgb").eval()
    start_from_other_scale(network, trained)
    picture = _smooth_picture()
    with torch.no_grad():
        same_size = F.interpolate(trained(picture), size=(40 * scale, 48 * scale), mode="bilinear", align_corners=False)
        difference = (network(picture) - same_size).abs()
    # At the border of a cell the sub-pixels are extrapolated, so that the two pictures are close, not equal.
    assert float(difference.mean()) < 0.02
