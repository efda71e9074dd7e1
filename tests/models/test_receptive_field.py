"""How far each network sees, against what its output depends on."""

import pytest
import torch

from models.receptive_field import receptive_radius
from models.registry import ARCHITECTURES, SUPPORTED_SCALES, build_network


@pytest.mark.parametrize("scale", SUPPORTED_SCALES)
@pytest.mark.parametrize("architecture", [known.name for known in ARCHITECTURES])
def test_an_output_pixel_depends_on_just_the_pixels_within_the_radius(architecture: str, scale: int) -> None:
    radius = receptive_radius(architecture, scale)
    centre = radius + 2
    network = build_network(architecture, scale=scale, channels="luma").double().eval()
    # Positive weights, so that no two ways through the network cancel out; small ones, so that nothing overflows.
    for weights in network.parameters():
        torch.nn.init.uniform_(weights, 0.5, 1.0)
        weights.data /= weights[0].numel()
    picture = torch.ones(1, 1, 2 * centre + 1, 2 * centre + 1, dtype=torch.double, requires_grad=True)
    restored = network(picture)[0, 0]
    distances = []
    for phase in range(scale):
        position = centre * scale + phase
        (gradient,) = torch.autograd.grad(restored[position, position], picture, retain_graph=True)
        distances.append((gradient[0, 0].nonzero() - centre).abs().max().item())
    assert max(distances) == radius


def test_the_radii_of_the_small_networks() -> None:
    assert [receptive_radius("espcn", scale) for scale in SUPPORTED_SCALES] == [4, 4, 4, 4]
    assert [receptive_radius("wdsr-small", scale) for scale in SUPPORTED_SCALES] == [18, 18, 18, 18]
    assert [receptive_radius("srcnn", scale) for scale in SUPPORTED_SCALES] == [8, 6, 4, 4]
    before = torch.random.get_rng_state()
    receptive_radius("vdsr", 2)
    assert torch.equal(torch.random.get_rng_state(), before)
