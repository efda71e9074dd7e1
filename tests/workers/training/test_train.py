from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.encoding_settings import EncodingSettings
from core.presets import resolve_settings
from models.general import load_general_network
from stdo.decoder.frame_restorer import FrameRestorer
from stdo.quality.psnr import FrameErrors, frame_error, summary
from stdo.service.resources import ProgressUnit, Stage
from tests.workers.training.synthetic import silent, synthetic_video
from workers.base_stream.frame_pairs import VideoFiles
from workers.training.groups import GroupPlan, plan_groups
from workers.training.score import score_patches
from workers.training.sharing import sharing_of
from workers.training.torch_upscaler import TorchUpscaler
from workers.training.train import train, training_fingerprint
from workers.training.trained_network import TrainedNetwork, TrainedNetworks
from workers.training.weight_rounding import Int8Weights, Precision, RoundedNetwork

CPU = torch.device("cpu")
PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "fp32")


class CutOffError(Exception):
    """Stands for whatever ends a training early."""


def settings_of(**overrides: Any) -> EncodingSettings:
    """Tiny patches and few steps; the changes go one level deep."""
    merged: dict[str, Any] = {
        "patches": {"width": 10, "height": 8},
        "groups": {"count": 1 if overrides.get("method") == "awdnn" else 3},
        "training": {"steps": 14, "batch_size": 3, "checkpoint_interval_seconds": 1e-9},
    }
    for key, value in overrides.items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, Mapping) else value
    return resolve_settings("fast", merged)


SETTINGS = settings_of()


def planned(video: VideoFiles, settings: EncodingSettings) -> GroupPlan:
    return plan_groups(score_patches(video, settings, device=CPU, report=silent), settings)


def trained(
    folder: Path, video: VideoFiles, settings: EncodingSettings, *, plan: GroupPlan | None = None
) -> dict[int, TrainedNetwork]:
    """The networks of all trainings."""
    plan = plan or planned(video, settings)
    networks: dict[int, TrainedNetwork] = {}
    for training in plan.trainings:
        checkpoint = folder / f"checkpoint_{training.number}.safetensors"
        made = train(video, plan, settings, training.number, checkpoint=checkpoint, device=CPU, report=silent)
        assert set(made.networks) == set(training.networks)
        networks |= made.networks
        checkpoint.unlink()
    return networks


def same(a: TrainedNetwork, b: TrainedNetwork) -> bool:
    if (a.rounded is None) != (b.rounded is None):
        return False
    decoded = [(a.weights, b.weights)]
    if a.rounded is not None and b.rounded is not None:
        decoded.append((a.rounded.decoded(), b.rounded.decoded()))
    return all(torch.equal(left[name], right[name]) for left, right in decoded for name in left)


@pytest.fixture
def video(tmp_path: Path) -> VideoFiles:
    return synthetic_video(tmp_path, SETTINGS)


@pytest.mark.parametrize("stops", [[2], [5], [7, 9], [13]])
def test_a_resumed_training_gives_the_networks_of_an_uninterrupted_one(
    video: VideoFiles, tmp_path: Path, stops: list[int]
) -> None:
    plan = planned(video, SETTINGS)
    whole = trained(tmp_path, video, SETTINGS, plan=plan)
    seen: list[int] = []

    def run(stop_after: int | None) -> TrainedNetworks:
        def report(stage: Stage, done: int, total: int, unit: ProgressUnit) -> None:
            assert (stage, total, unit) == ("train", 14, "steps")
            seen.append(done)
            if done == stop_after and seen.count(done) == 1:
                raise CutOffError

        checkpoint = tmp_path / "cut.safetensors"
        return train(video, plan, SETTINGS, 0, checkpoint=checkpoint, device=CPU, report=report)

    for stop in stops:
        with pytest.raises(CutOffError):
            run(stop)
    resumed = run(None)
    assert set(resumed.networks) == {0, 1, 2}
    assert all(same(whole[number], network) for number, network in resumed.networks.items())
    # Nothing is done twice: each number of steps is reached once, but for signs of life while patches are read.
    counted = [done for place, done in enumerate(seen) if place == 0 or done == seen[place - 1] + 1]
    assert counted == sorted(set(counted))
    assert seen[-1] == 14


def test_a_training_that_died_after_its_last_network_decodes_nothing(
    video: VideoFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, checkpoint = planned(video, SETTINGS), tmp_path / "done.safetensors"
    made = train(video, plan, SETTINGS, 0, checkpoint=checkpoint, device=CPU, report=silent)
    monkeypatch.setattr("workers.training.train.gather_patches", None)
    again = train(video, plan, SETTINGS, 0, checkpoint=checkpoint, device=CPU, report=silent)
    assert set(again.networks) == set(made.networks)
    assert all(same(made.networks[number], network) for number, network in again.networks.items())


@pytest.mark.parametrize("method", ["stdo", "nas"])
@pytest.mark.parametrize("split_over", [2, 3, 16])
def test_networks_do_not_depend_on_how_they_are_split_over_trainings(
    video: VideoFiles, tmp_path: Path, method: str, split_over: int
) -> None:
    together = trained(tmp_path, video, settings_of(method=method))
    apart = trained(tmp_path, video, settings_of(method=method, training={"split_over": split_over}))
    assert set(together) == set(apart) == {0, 1, 2}
    assert all(same(together[number], apart[number]) for number in together)


def test_all_networks_of_a_training_come_from_one_pass_over_the_frames(video: VideoFiles, tmp_path: Path) -> None:
    plan = planned(video, SETTINGS)
    passes: list[None] = video.passes  # type: ignore[attr-defined]
    before = len(passes)
    trained(tmp_path, video, SETTINGS, plan=plan)
    assert len(passes) == before + 1


@pytest.mark.parametrize("method", ["stdo", "jstdo", "nas", "awdnn"])
@pytest.mark.parametrize(("base_bit_depth", "bit_depth"), [(8, 8), (10, 10), (10, 8)])
def test_at_scale_1_every_method_brings_the_decoded_picture_nearer_to_the_source(
    tmp_path: Path, method: str, base_bit_depth: Any, bit_depth: Any
) -> None:
    settings = settings_of(
        method=method,
        scale=1,
        patches={"width": 16, "height": 16},
        groups={"count": 1 if method == "awdnn" else 2},
        training={"steps": 100, "learning_rate": 1e-3, "checkpoint_interval_seconds": 60.0},
    )
    video = synthetic_video(tmp_path, settings, frames=2, base_bit_depth=base_bit_depth, bit_depth=bit_depth)
    scores = score_patches(video, settings, device=CPU, report=silent)
    plan = plan_groups(scores, settings)
    networks = trained(tmp_path, video, settings, plan=plan)
    upscalers = [
        TorchUpscaler(networks[number].network(settings, "int8"), scale=1, channels="rgb", device=CPU)
        for number in sorted(networks)
    ]
    restorer = FrameRestorer(video.layout, upscalers)
    errors = FrameErrors.empty(2)
    for pair in video.frame_pairs():
        restored = restorer.restore(pair.base, plan.numbers[pair.number])
        errors[pair.number] = frame_error(video.layout, pair.reference(), restored)
    ours, decoded = (summary(each, video.layout).psnr_rgb for each in (errors, scores.f0_frames))
    assert ours is not None
    assert decoded is not None
    assert ours > decoded + 0.2


@pytest.mark.parametrize("architecture", ["srcnn", "vdsr-small", "edsr-small", "wdsr-small"])
def test_every_architecture_cleans_at_scale_1(tmp_path: Path, architecture: str) -> None:
    settings = settings_of(scale=1, training={"architecture": architecture, "start": "scratch", "steps": 3})
    video = synthetic_video(tmp_path, settings, frames=1)
    (network, *_) = trained(tmp_path, video, settings).values()
    restored = network.network(settings, "fp32")(torch.full((1, 3, 12, 12), 0.5))
    assert restored.shape == (1, 3, 12, 12)
    assert (restored - 0.5).abs().max() < 0.2


def test_a_fingerprint_names_all_that_the_weights_depend_on(video: VideoFiles, tmp_path: Path) -> None:
    plan = planned(video, SETTINGS)
    (tmp_path / "other").mkdir()
    other_stream = synthetic_video(tmp_path / "other", SETTINGS, content=b"other bytes")
    split = settings_of(training={"split_over": 3})
    fingerprints = [
        training_fingerprint(video, plan, SETTINGS, 0),
        training_fingerprint(video, planned(video, split), split, 0),
        training_fingerprint(video, planned(video, split), split, 1),
        training_fingerprint(video, planned(video, settings_of(groups={"count": 1})), SETTINGS, 0),
        training_fingerprint(video, plan, settings_of(seed=1), 0),
        training_fingerprint(other_stream, plan, SETTINGS, 0),
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    assert fingerprints[0] == training_fingerprint(video, plan, SETTINGS, 0)


def test_a_network_learns_and_its_weight_norm_is_folded_away(video: VideoFiles, tmp_path: Path) -> None:
    settings = settings_of(method="awdnn", training={"architecture": "wdsr-small"})
    (network,) = trained(tmp_path, video, settings).values()
    started = load_general_network("wdsr-small", scale=2, channels="rgb").state_dict()
    assert set(network.network(settings, "fp32").state_dict()) == set(network.weights) == set(started)
    assert not torch.equal(started["head.weight"], network.weights["head.weight"])
    assert network.device == "cpu"


def test_fresh_weights_are_drawn_by_the_seed_and_the_networks_number() -> None:
    def first_layer(seed: int, place: int) -> torch.Tensor:
        settings = settings_of(seed=seed, training={"start": "scratch", "architecture": "edsr-small"})
        sharing = sharing_of(settings)
        (training,) = sharing.trainings(3)
        return sharing.build(sharing.runs(training)[place]).state_dict()["head.weight"]

    before = torch.random.get_rng_state()
    assert torch.equal(first_layer(3, 1), first_layer(3, 1))
    assert not torch.equal(first_layer(3, 1), first_layer(3, 0))
    assert not torch.equal(first_layer(3, 1), first_layer(4, 1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_luma_network_starts_from_the_folded_general_one() -> None:
    settings = settings_of(method="awdnn", training={"channels": "luma"})
    sharing = sharing_of(settings)
    (training,) = sharing.trainings(1)
    network = sharing.build(sharing.runs(training)[0])
    grey = torch.rand(1, 1, 9, 8)
    with torch.inference_mode():
        rgb = load_general_network("espcn", scale=2, channels="rgb")(grey.repeat(1, 3, 1, 1))
        luma = network(grey)
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    assert torch.allclose(luma[:, 0], torch.einsum("bchw,c->bhw", rgb, weights), atol=1e-5)


def test_weights_are_rounded_only_where_they_are_delivered_as_int8(video: VideoFiles, tmp_path: Path) -> None:
    rounded = trained(tmp_path, video, SETTINGS)[0]
    floats = trained(tmp_path, video, settings_of(export={"precision": "fp32"}))[0]
    assert rounded.rounded is not None
    assert set(rounded.rounded.decoded()) == set(rounded.weights)
    assert floats.rounded is None
    assert all(torch.equal(rounded.weights[name], floats.weights[name]) for name in rounded.weights)


def test_trained_networks_survive_their_file_and_give_each_precision(tmp_path: Path) -> None:
    weights = dict(load_general_network("espcn", scale=2, channels="rgb").state_dict())
    coded = Int8Weights(values=torch.full((64, 3, 3, 3), 3, dtype=torch.int8), scales=torch.arange(64.0))
    name = "features.0.weight"
    bias = torch.arange(64.0) / 100
    rounded = RoundedNetwork(weights={name: coded}, biases={"features.0.bias": bias})
    first = TrainedNetwork(weights=weights, rounded=rounded, device="cpu", torch_version="2.9")
    second = TrainedNetwork(weights={name: torch.ones(1)}, rounded=None, device="H100", torch_version="2.8")
    TrainedNetworks(networks={1: first, 12: second}).save(tmp_path / "training_0.safetensors")
    loaded = TrainedNetworks.load(tmp_path / "training_0.safetensors").networks
    assert [path.name for path in tmp_path.iterdir()] == ["training_0.safetensors"]
    assert {number: (network.device, network.torch_version) for number, network in loaded.items()} == {
        1: ("cpu", "2.9"),
        12: ("H100", "2.8"),
    }
    assert same(loaded[1], first)
    assert same(loaded[12], second)
    networks = {precision: loaded[1].network(SETTINGS, precision).state_dict() for precision in PRECISIONS}
    assert torch.equal(networks["fp32"][name], weights[name])
    assert torch.equal(networks["fp16"][name], weights[name].half().float())
    assert torch.equal(networks["int8"][name], coded.decoded())
    assert torch.equal(networks["int8"]["features.0.bias"], bias)
    assert torch.equal(networks["int8"]["features.2.bias"], weights["features.2.bias"])


def test_reports_start_before_the_patches_are_read(video: VideoFiles, tmp_path: Path) -> None:
    seen: list[tuple[Stage, int, int, ProgressUnit]] = []

    def report(stage: Stage, done: int, total: int, unit: ProgressUnit) -> None:
        seen.append((stage, done, total, unit))

    plan = planned(video, SETTINGS)
    train(video, plan, SETTINGS, 0, checkpoint=tmp_path / "c.safetensors", device=CPU, report=report)
    frames = plan.numbers.shape[0]
    assert seen[:frames] == [("train", 0, 14, "steps")] * frames
    assert [done for _, done, *_ in seen[frames:]] == list(range(1, 15))
    assert np.unique(plan.numbers).tolist() == [0, 1, 2]
