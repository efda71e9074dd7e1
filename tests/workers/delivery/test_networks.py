from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.encoding_settings import EncodingSettings
from core.presets import resolve_settings
from models.registry import build_network
from stdo.bundle.bundle import open_bundle
from stdo.networks.upscale import OnnxUpscaler
from tests.stdo.bundles import write_small_bundle
from workers.delivery.networks import JobNetworks
from workers.training.torch_upscaler import TorchUpscaler
from workers.training.trained_network import TrainedNetwork, TrainedNetworks

SETTINGS = resolve_settings("fast", {"export": {"precision": "fp16"}})


def trained_network(seed: int, device: str) -> TrainedNetwork:
    torch.manual_seed(seed)
    network = build_network("espcn", scale=2, channels="rgb")
    return TrainedNetwork(weights=network.state_dict(), rounded=None, device=device, torch_version="2.9")


def job_networks(settings: EncodingSettings = SETTINGS) -> JobNetworks:
    return JobNetworks(trained=[trained_network(0, "cpu"), trained_network(1, "cpu")], settings=settings)


def test_the_networks_of_several_trainings_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    made = [trained_network(seed, device) for seed, device in enumerate(("b", "a", "b"))]
    TrainedNetworks(networks={0: made[0], 2: made[2]}).save(tmp_path / "0")
    TrainedNetworks(networks={1: made[1]}).save(tmp_path / "1")
    networks = JobNetworks.load([tmp_path / "1", tmp_path / "0"], SETTINGS)
    for network, wanted in zip(networks.trained, made, strict=True):
        name = next(iter(wanted.weights))
        assert torch.equal(network.weights[name], wanted.weights[name])
    assert (networks.devices, networks.torch_versions) == ("a, b", "2.9")


def test_the_bundles_files_are_run_on_a_processor_and_torch_on_a_gpu(tmp_path: Path) -> None:
    with open_bundle(write_small_bundle(tmp_path / "bundle")) as bundle:
        on_processor = job_networks().delivered_upscalers(bundle, torch.device("cpu"))
        # Like a GPU in all but that nothing is computed: there is none in the tests.
        on_device = job_networks().delivered_upscalers(bundle, torch.device("meta"))
    assert [type(upscaler) for upscaler in on_processor] == [OnnxUpscaler, OnnxUpscaler]
    assert [type(upscaler) for upscaler in on_device] == [TorchUpscaler, TorchUpscaler]


@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_networks_that_are_delivered_exactly_are_not_run_twice(precision: str) -> None:
    networks = job_networks(resolve_settings("fast", {"export": {"precision": precision}}))
    exact = networks.exact_upscalers(torch.device("cpu"))
    assert (exact is None) == (precision == "fp32")
