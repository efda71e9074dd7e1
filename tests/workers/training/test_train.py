from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.presets import EncodingSettings
from models.general import load_general_network
from stdo.service.resources import ProgressUnit, Stage
from tests.clips import ClipMaker
from tests.workers.pipeline_runs import Reports, encoded_base_stream, settings_of
from workers.base_stream.frame_pairs import VideoFiles
from workers.training.groups import GroupPlan
from workers.training.train import run_fingerprint, starting_network, train_network
from workers.training.trained_network import TrainedNetwork
from workers.training.weight_coding import Int8Weights, Precision, RoundedNetwork

CPU = torch.device("cpu")
SHORT = {"training": {"steps": 10, "checkpoint_interval_seconds": 1e-9}}
SETTINGS = settings_of(SHORT)
PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "fp32")


class CutOffError(Exception):
    """Stands for whatever ends a training early."""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> VideoFiles:
    folder = tmp_path_factory.mktemp("train")
    return encoded_base_stream(ClipMaker(folder).make("short.mp4", frames=4), folder, SETTINGS)


def plan_of(groups: int = 2) -> GroupPlan:
    index = (np.arange(16, dtype=np.uint8) % groups).reshape(4, 4)
    return GroupPlan(group_of_patch=index, network_of_patch=index)


def train(
    video: VideoFiles, checkpoint: Path, *, settings: EncodingSettings = SETTINGS, index: int = 0, stop_after: int = 99
) -> TrainedNetwork | None:
    """The network, or None where it was stopped."""

    def report(stage: Stage, done: int, total: int, unit: ProgressUnit) -> None:
        assert (stage, total, unit) == ("train", 5, "steps")
        if done == stop_after:
            raise CutOffError

    try:
        return train_network(video, plan_of(), settings, index, checkpoint=checkpoint, device=CPU, report=report)
    except CutOffError:
        return None


def test_a_resumed_training_gives_the_weights_of_an_uninterrupted_one(video: VideoFiles, tmp_path: Path) -> None:
    whole = train(video, tmp_path / "whole.safetensors")
    assert train(video, tmp_path / "cut.safetensors", stop_after=2) is None
    resumed = train(video, tmp_path / "cut.safetensors")
    assert whole is not None
    assert resumed is not None
    assert whole.device == "cpu"
    assert all(torch.equal(whole.weights[key], resumed.weights[key]) for key in whole.weights)
    started = load_general_network("espcn", scale=2, channels="rgb").state_dict()
    assert not torch.equal(whole.weights["upsample.weight"], started["upsample.weight"])


def test_a_fingerprint_names_all_that_the_weights_depend_on(video: VideoFiles) -> None:
    base = run_fingerprint(video, plan_of(), SETTINGS, 0)
    assert base == run_fingerprint(video, plan_of(), SETTINGS, 0)
    other_seed = SETTINGS.model_copy(update={"seed": 1})
    others = {
        run_fingerprint(video, plan_of(), SETTINGS, 1),
        run_fingerprint(video, plan_of(groups=1), SETTINGS, 0),
        run_fingerprint(video, plan_of(), other_seed, 0),
        run_fingerprint(replace(video, base_stream=video.source), plan_of(), SETTINGS, 0),
    }
    assert len(others | {base}) == 5


def test_weight_norm_is_folded_away(video: VideoFiles, tmp_path: Path) -> None:
    settings = settings_of({"training": {"steps": 10, "architecture": "wdsr-small"}})
    trained = train(video, tmp_path / "c.safetensors", settings=settings)
    assert trained is not None
    assert set(trained.network(settings, "fp32").state_dict()) == set(trained.weights)
    started = load_general_network("wdsr-small", scale=2, channels="rgb").state_dict()
    assert set(started) == set(trained.weights)
    assert not torch.equal(started["head.weight"], trained.weights["head.weight"])


def test_fresh_weights_are_drawn_by_the_seed_and_the_networks_number() -> None:
    def first_layer(seed: int, index: int) -> torch.Tensor:
        settings = settings_of({"seed": seed, "training": {"start": "scratch", "architecture": "edsr-small"}})
        return starting_network(settings, index).state_dict()["head.weight"]

    before = torch.random.get_rng_state()
    assert torch.equal(first_layer(3, 1), first_layer(3, 1))
    assert not torch.equal(first_layer(3, 1), first_layer(3, 0))
    assert not torch.equal(first_layer(3, 1), first_layer(4, 1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_luma_network_starts_from_the_folded_general_one() -> None:
    settings = settings_of({"training": {"channels": "luma"}})
    network = starting_network(settings, 0)
    grey = torch.rand(1, 1, 9, 8)
    with torch.inference_mode():
        rgb = load_general_network("espcn", scale=2, channels="rgb")(grey.repeat(1, 3, 1, 1))
        luma = network(grey)
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    assert torch.allclose(luma[:, 0], torch.einsum("bchw,c->bhw", rgb, weights), atol=1e-5)


def test_weights_are_rounded_only_where_they_are_delivered_as_int8(video: VideoFiles, tmp_path: Path) -> None:
    rounded = train(video, tmp_path / "a.safetensors")
    floats = train(video, tmp_path / "b.safetensors", settings=settings_of({"export": {"precision": "fp32"}, **SHORT}))
    assert rounded is not None
    assert floats is not None
    assert rounded.rounded is not None
    assert set(rounded.rounded.decoded()) == set(rounded.weights)
    assert floats.rounded is None
    assert all(torch.equal(rounded.weights[name], floats.weights[name]) for name in rounded.weights)


def test_a_trained_network_survives_its_file_and_gives_each_precision(tmp_path: Path) -> None:
    weights = dict(load_general_network("espcn", scale=2, channels="rgb").state_dict())
    coded = Int8Weights(values=torch.full((64, 3, 3, 3), 3, dtype=torch.int8), steps=torch.arange(64.0))
    name = "features.0.weight"
    bias = torch.arange(64.0) / 100
    rounded = RoundedNetwork(weights={name: coded}, biases={"features.0.bias": bias})
    trained = TrainedNetwork(weights=weights, rounded=rounded, device="cpu", torch_version="2.9")
    trained.save(tmp_path / "n.safetensors")
    loaded = TrainedNetwork.load(tmp_path / "n.safetensors")
    assert (loaded.device, loaded.torch_version) == ("cpu", "2.9")
    assert all(torch.equal(loaded.weights[key], weights[key]) for key in weights)
    assert [path.name for path in tmp_path.iterdir()] == ["n.safetensors"]
    networks = {precision: loaded.network(SETTINGS, precision).state_dict() for precision in PRECISIONS}
    assert torch.equal(networks["fp32"][name], weights[name])
    assert torch.equal(networks["fp16"][name], weights[name].half().float())
    assert torch.equal(networks["int8"][name], coded.decoded())
    assert torch.equal(networks["int8"]["features.0.bias"], bias)
    assert torch.equal(networks["int8"]["features.2.bias"], weights["features.2.bias"])


def test_reports_start_before_the_patches_are_read(video: VideoFiles, tmp_path: Path) -> None:
    reports = Reports()
    train_network(video, plan_of(), SETTINGS, 0, checkpoint=tmp_path / "c", device=CPU, report=reports)
    assert reports.seen[0] == ("train", 0, 5, "steps")
    assert reports.seen[-1] == ("train", 5, 5, "steps")
