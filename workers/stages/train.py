"""Stage 5: overfit one network to its patches of this video."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core.recipes import EncodingSettings
from models.general import general_network_sha256, load_general_network
from models.registry import build_network, find_architecture
from models.weight_norm import add_weight_norm, fold_weight_norm
from workers.device import device_name
from workers.frame_pairs import VideoFiles, patch_grid
from workers.overfitting import CheckpointPlan, Schedule, overfit
from workers.progress import Progress
from workers.stages.chunks import ChunkPlan
from workers.training_patches import TrainingPatches, bytes_per_patch, gather_patches, select_patches


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedNetwork:
    """The weights of one network, plain: without weight norm."""

    weights: dict[str, Tensor]
    """float32 on the CPU, by the names of `models.registry.build_network`'s network."""
    patch_count: int
    """Patches that it was trained on."""
    steps: int
    device: str
    """What it was trained on: `cpu`, or the GPU's name."""

    def save(self, path: Path) -> None:
        """Write as safetensors; a reader never sees half a file."""
        unfinished = path.with_suffix(".unfinished")
        facts = {"patch_count": str(self.patch_count), "steps": str(self.steps), "device": self.device}
        save_file(self.weights, unfinished, metadata=facts)
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata()
            weights = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a dict
        return cls(
            weights=weights,
            patch_count=int(metadata["patch_count"]),
            steps=int(metadata["steps"]),
            device=metadata["device"],
        )

    def network(self, settings: EncodingSettings) -> nn.Module:
        """The network itself, in eval mode."""
        training = settings.training
        network = build_network(training.architecture, scale=settings.scale, channels=training.channels)
        network.load_state_dict(self.weights)
        return network.eval()


def train_network(
    video: VideoFiles,
    plan: ChunkPlan,
    settings: EncodingSettings,
    network_index: int,
    *,
    checkpoint: Path,
    device: torch.device,
    report: Progress,
) -> TrainedNetwork:
    """Train network `network_index` on its chunk, or on the joint set, of the decoded low-resolution stream.

    A network without patches (there may be fewer patches than chunks) keeps the weights that it starts with.

    Args:
        checkpoint: file that is written while training goes on, and resumed from where it is there already.
    """
    steps = settings.steps_of_network(network_index)
    patches = _gather(video, plan, settings, network_index, device, lambda: report("train", 0, steps, "steps"))
    network = starting_network(settings, network_index)
    if not len(patches):
        return _trained(network, patch_count=0, steps=0, device=device)
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
            seed=(settings.seed, network_index),
        ),
        overhang=settings.scale * settings.patches.halo,
        checkpoints=CheckpointPlan(
            path=checkpoint,
            interval_seconds=settings.training.checkpoint_interval_seconds,
            fingerprint=run_fingerprint(video, plan, settings, network_index),
        ),
        device=device,
        report=lambda done: report("train", done, steps, "steps"),
    )
    return _trained(network, patch_count=len(patches), steps=steps, device=device)


def starting_network(settings: EncodingSettings, network_index: int) -> nn.Module:
    """The network before its first step: the general network f0, or fresh weights drawn by the seed."""
    training = settings.training
    if training.start == "general":
        return load_general_network(training.architecture, scale=settings.scale, channels=training.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed * settings.network_count + network_index)
        return build_network(training.architecture, scale=settings.scale, channels=training.channels)


def run_fingerprint(video: VideoFiles, plan: ChunkPlan, settings: EncodingSettings, network_index: int) -> str:
    """Names what the weights depend on: a checkpoint of another run must not be resumed."""
    training = settings.training
    general = general_network_sha256(training.architecture, settings.scale) if training.start == "general" else None
    facts = {
        "settings": settings.model_dump(mode="json"),
        "network": network_index,
        "general_network": general,
        "source": video.info.source.sha256,
        "low_res": hashlib.sha256(video.low_res.read_bytes()).hexdigest(),
        "plan": hashlib.sha256(plan.chunk_of_patch.tobytes() + plan.network_of_patch.tobytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _gather(
    video: VideoFiles,
    plan: ChunkPlan,
    settings: EncodingSettings,
    network_index: int,
    device: torch.device,
    sign_of_life: Callable[[], None],
) -> TrainingPatches:
    picture = video.info.picture(settings.scale)
    grid = patch_grid(picture, settings)
    channels = settings.training.channels
    numbers = select_patches(
        plan,
        settings,
        network_index=network_index,
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


def _trained(network: nn.Module, *, patch_count: int, steps: int, device: torch.device) -> TrainedNetwork:
    plain = fold_weight_norm(network).cpu().state_dict()
    weights = {key: value.detach().float().contiguous() for key, value in plain.items()}
    return TrainedNetwork(weights=weights, patch_count=patch_count, steps=steps, device=device_name(device))
