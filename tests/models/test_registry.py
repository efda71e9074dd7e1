"""The networks are those of the paper's tables: parameters and multiply-accumulates, and they enlarge any picture."""

from typing import get_args

import pytest
import torch

from core.encoding_settings import Architecture, GeneralNetwork
from models.cost import multiply_accumulates, parameter_count
from models.general import GENERAL_NETWORKS
from models.registry import (
    ARCHITECTURES,
    SUPPORTED_SCALES,
    UnknownArchitectureError,
    UnsupportedScaleError,
    build_network,
)

# Parameters with biases, and multiply-accumulates for a 48x48 RGB base frame.
PAPER_COSTS = {
    ("espcn", 2): (60_652, 139_345_920),
    ("espcn", 3): (64_987, 149_299_200),
    ("espcn", 4): (71_056, 163_233_792),
    ("srcnn", 2): (69_251, 637_304_832),
    ("srcnn", 3): (69_251, 1_433_935_872),
    ("srcnn", 4): (69_251, 2_549_219_328),
    ("vdsr", 2): (668_227, 6_147_145_728),
    ("vdsr", 3): (668_227, 13_831_077_888),
    ("vdsr", 4): (668_227, 24_588_582_912),
    ("edsr", 2): (1_369_859, 3_162_488_832),
    ("edsr", 3): (1_554_499, 3_607_068_672),
    ("edsr", 4): (1_517_571, 4_569_219_072),
    ("wdsr", 2): (1_187_484, 2_729_935_872),
    ("wdsr", 3): (1_192_959, 2_742_481_152),
    ("wdsr", 4): (1_200_624, 2_760_044_544),
}

ALL_NETWORKS = [(known.name, scale) for known in ARCHITECTURES for scale in SUPPORTED_SCALES]


@pytest.mark.parametrize(("architecture", "scale"), list(PAPER_COSTS))
def test_costs_are_those_of_the_paper(architecture: str, scale: int) -> None:
    network = build_network(architecture, scale=scale, channels="rgb")
    costs = parameter_count(network), multiply_accumulates(network, base_height=48, base_width=48)
    assert costs == PAPER_COSTS[architecture, scale]


@pytest.mark.parametrize(("small", "full"), [("vdsr-small", "vdsr"), ("edsr-small", "edsr"), ("wdsr-small", "wdsr")])
@pytest.mark.parametrize("scale", SUPPORTED_SCALES)
def test_small_members_are_at_least_five_times_cheaper(small: str, full: str, scale: int) -> None:
    small_network, full_network = (build_network(name, scale=scale, channels="rgb") for name in (small, full))
    assert 5 * parameter_count(small_network) < parameter_count(full_network)
    small_macs, full_macs = (
        multiply_accumulates(network, base_height=48, base_width=48) for network in (small_network, full_network)
    )
    assert 5 * small_macs < full_macs


@pytest.mark.parametrize(("architecture", "scale"), ALL_NETWORKS)
@pytest.mark.parametrize(("channels", "planes"), [("rgb", 3), ("luma", 1)])
def test_forward_enlarges_any_batch_and_size(architecture: str, scale: int, channels: str, planes: int) -> None:
    network = build_network(architecture, scale=scale, channels=channels).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, planes, 9, 14)).shape == (2, planes, 9 * scale, 14 * scale)


@pytest.mark.parametrize(("architecture", "scale"), ALL_NETWORKS)
def test_luma_is_cheaper_than_rgb(architecture: str, scale: int) -> None:
    rgb, luma = (build_network(architecture, scale=scale, channels=channels) for channels in ("rgb", "luma"))
    assert parameter_count(luma) < parameter_count(rgb)
    assert multiply_accumulates(luma, base_height=48, base_width=48) < multiply_accumulates(
        rgb, base_height=48, base_width=48
    )


def test_fresh_networks_follow_the_global_seed() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(build_network("wdsr-small", scale=2, channels="rgb").state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_settings_and_models_know_the_same_networks() -> None:
    assert get_args(Architecture) == tuple(known.name for known in ARCHITECTURES)
    assert set(get_args(GeneralNetwork)) == {architecture for architecture, _ in GENERAL_NETWORKS}


@pytest.mark.parametrize("architecture", [known.name for known in ARCHITECTURES])
def test_fresh_networks_of_scale_1_give_what_they_get_and_can_learn(architecture: str) -> None:
    network = build_network(architecture, scale=1, channels="rgb")
    picture = torch.rand(1, 3, 10, 12)
    restored = network(picture)
    assert torch.equal(restored, picture)
    restored.square().mean().backward()
    assert any(weights.grad is not None and weights.grad.any() for weights in network.parameters())


def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(UnknownArchitectureError, match=r"'rcan'.*espcn, srcnn, vdsr, edsr, wdsr, vdsr-small"):
        build_network("rcan", scale=2, channels="rgb")


def test_unsupported_scale_is_refused() -> None:
    with pytest.raises(UnsupportedScaleError, match="Scale 5"):
        build_network("espcn", scale=5, channels="rgb")
