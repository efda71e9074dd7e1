"""The luma form of a network equals, for a grey picture, the luma of what the RGB form gives."""

import pytest
import torch
from torch import nn

from models.luma import BT709_LUMA_WEIGHTS, NotThisRgbNetworkError, luma_from_rgb
from models.registry import ARCHITECTURES, SUPPORTED_SCALES, build_network
from models.weight_norm import add_weight_norm

BT601_LUMA_WEIGHTS = (0.299, 0.587, 0.114)


@pytest.mark.parametrize("scale", SUPPORTED_SCALES)
@pytest.mark.parametrize("architecture", [known.name for known in ARCHITECTURES])
@pytest.mark.parametrize("luma_weights", [BT709_LUMA_WEIGHTS, BT601_LUMA_WEIGHTS])
def test_luma_network_equals_the_luma_of_the_rgb_network(
    architecture: str, scale: int, luma_weights: tuple[float, float, float]
) -> None:
    torch.manual_seed(3)
    rgb_network = build_network(architecture, scale=scale, channels="rgb").eval()
    _fill_zeros(rgb_network)
    luma_network = luma_from_rgb(rgb_network, architecture, scale=scale, luma_weights=luma_weights)
    grey = torch.rand(1, 1, 12, 16)
    with torch.inference_mode():
        red, green, blue = rgb_network(grey.expand(1, 3, 12, 16)).unbind(dim=1)
        expected = luma_weights[0] * red + luma_weights[1] * green + luma_weights[2] * blue
        assert not torch.allclose(red, green, atol=1e-3), "the colours must differ for the weights to matter"
        torch.testing.assert_close(luma_network(grey)[:, 0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def _fill_zeros(network: nn.Module) -> None:
    """As a trained network has it: at scale 1 the last layers are fresh zeros."""
    for weights in network.parameters():
        if not weights.any():
            torch.nn.init.normal_(weights, std=0.05)


@pytest.mark.parametrize(
    ("architecture", "scale", "channels"), [("espcn", 3, "rgb"), ("wdsr", 2, "rgb"), ("espcn", 2, "luma")]
)
def test_another_network_is_refused(architecture: str, scale: int, channels: str) -> None:
    other = build_network(architecture, scale=scale, channels=channels)
    with pytest.raises(NotThisRgbNetworkError, match="espcn x2"):
        luma_from_rgb(other, "espcn", scale=2)


def test_weight_normed_network_is_refused() -> None:
    network = build_network("wdsr-small", scale=2, channels="rgb")
    add_weight_norm(network)
    with pytest.raises(NotThisRgbNetworkError, match="fold weight norm"):
        luma_from_rgb(network, "wdsr-small", scale=2)
