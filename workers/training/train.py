"""Stage 5: overfit one network to its patches of this video."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from core.presets import EncodingSettings
from models.general import general_network_sha256, load_general_network
from models.registry import build_network, find_architecture
from models.weight_norm import add_weight_norm, fold_weight_norm
from workers.base_stream.frame_pairs import VideoFiles, patch_grid
from workers.file_hash import file_sha256
from workers.progress import Progress
from workers.training.device import device_name
from workers.training.groups import GroupPlan
from workers.training.overfitting import CheckpointPlan, Schedule, overfit
from workers.training.patches import TrainingPatches, bytes_per_patch, gather_patches, select_patches
from workers.training.trained_network import TrainedNetwork
from workers.training.weight_rounding import round_network

_ROUNDING_PATCHES = 48
"""Patches that the rounding of the weights looks at."""


def train_network(
    video: VideoFiles,
    plan: GroupPlan,
    settings: EncodingSettings,
    network_number: int,
    *,
    checkpoint: Path,
    device: torch.device,
    report: Progress,
) -> TrainedNetwork:
    """Train network `network_number` on its group, or on the joint set, of the decoded low-resolution stream.

    Args:
        checkpoint: file that is written while training goes on, and resumed from where it is there already.
    """
    steps = settings.steps_of_network(network_number)
    patches = _gather(video, plan, settings, network_number, device, lambda: report("train", 0, steps, "steps"))
    network = starting_network(settings, network_number)
    if find_architecture(settings.training.architecture).weight_norm:
        add_weight_norm(network)
    overfit(
        network,
        patches,
        Schedule(
            steps=steps,
            batch_size=settings.training.batch_size,
            learning_rate=settings.training.learning_rate,
            final_learning_rate=settings.training.final_learning_rate,
            seed=(settings.seed, network_number),
        ),
        overhang=settings.scale * settings.patches.halo,
        checkpoints=CheckpointPlan(
            path=checkpoint,
            interval_seconds=settings.training.checkpoint_interval_seconds,
            fingerprint=run_fingerprint(video, plan, settings, network_number),
        ),
        device=device,
        report=lambda done: report("train", done, steps, "steps"),
    )
    return _trained(network, patches, settings, device=device)


def starting_network(settings: EncodingSettings, network_number: int) -> nn.Module:
    """The network before its first step: the general network f0, or fresh weights drawn by the seed."""
    training = settings.training
    if training.start == "general":
        return load_general_network(training.architecture, scale=settings.scale, channels=training.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed * settings.network_count + network_number)
        return build_network(training.architecture, scale=settings.scale, channels=training.channels)


def run_fingerprint(video: VideoFiles, plan: GroupPlan, settings: EncodingSettings, network_number: int) -> str:
    """Names what the weights depend on: a checkpoint of another run must not be resumed."""
    training = settings.training
    general = general_network_sha256(training.architecture, settings.scale) if training.start == "general" else None
    facts = {
        "settings": settings.model_dump(mode="json"),
        "network": network_number,
        "general_network": general,
        "source": video.info.source.sha256,
        "base_stream": file_sha256(video.base_stream),
        "plan": hashlib.sha256(plan.group_of_patch.tobytes() + plan.network_of_patch.tobytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _gather(
    video: VideoFiles,
    plan: GroupPlan,
    settings: EncodingSettings,
    network_number: int,
    device: torch.device,
    sign_of_life: Callable[[], None],
) -> TrainingPatches:
    picture = video.info.picture(settings.scale)
    grid = patch_grid(picture, settings)
    channels = settings.training.channels
    numbers = select_patches(
        plan,
        settings,
        network_number=network_number,
        patch_bytes=bytes_per_patch(grid, scale=settings.scale, channels=channels),
    )
    return gather_patches(
        video.frame_pairs(picture),
        numbers,
        picture=picture,
        grid=grid,
        channels=channels,
        device=device,
        sign_of_life=sign_of_life,
    )


def _trained(
    network: nn.Module, patches: TrainingPatches, settings: EncodingSettings, *, device: torch.device
) -> TrainedNetwork:
    plain = fold_weight_norm(network).to(device).eval()
    is_rounded = settings.export.precision == "int8"
    return TrainedNetwork(
        weights={name: value.detach().float().cpu() for name, value in plain.state_dict().items()},
        rounded=round_network(plain, _typical_pictures(patches)) if is_rounded else None,
        device=device_name(device),
        torch_version=version("torch"),
    )


def _typical_pictures(patches: TrainingPatches) -> Tensor:
    """Some patches from all over the video: (B, C, H, W) float32 in [0, 1]."""
    count = min(_ROUNDING_PATCHES, len(patches))
    numbers = torch.arange(count, device=patches.low_res.device) * len(patches) // count
    return patches.low_res[numbers].permute(0, 3, 1, 2).float().div_(255)
