"""Overfit the networks of one training to their patches of this video."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from core.encoding_settings import EncodingSettings
from models.general import general_network_sha256
from models.registry import find_architecture
from models.weight_norm import add_weight_norm, fold_weight_norm
from stdo.bundle.files import file_sha256
from workers.base_stream.frame_pairs import VideoFiles
from workers.progress import Progress
from workers.training.checkpoints import Checkpoint
from workers.training.device import device_name
from workers.training.groups import GroupPlan
from workers.training.overfitting import Schedule, overfit
from workers.training.patches import TrainingPatches, bytes_per_patch, gather_patches
from workers.training.sharing import Run, Sharing, sharing_of
from workers.training.trained_network import TrainedNetwork, TrainedNetworks
from workers.training.weight_rounding import round_network

_ROUNDING_PATCHES = 48
"""Patches that the rounding of the weights looks at."""
_MIB = 2**20


def train(
    video: VideoFiles,
    plan: GroupPlan,
    settings: EncodingSettings,
    training_number: int,
    *,
    checkpoint: Path,
    device: torch.device,
    report: Progress,
) -> TrainedNetworks:
    """Train the networks of one training, one after another, on patches of the decoded base frames.

    Args:
        checkpoint: file that is written while training goes on, and resumed from where it is there already.

    Raises:
        workers.errors.TrainingDivergedError: a network's weights are no finite numbers any more.
    """
    sharing, training = sharing_of(settings), plan.trainings[training_number]
    state = Checkpoint(
        checkpoint,
        interval_seconds=settings.training.checkpoint_interval_seconds,
        fingerprint=training_fingerprint(video, plan, settings, training_number),
    )
    runs = sharing.runs(training)
    total = sum(run.steps for run in runs)
    done = sum(run.steps for run in runs if run.number in state.finished)
    say = _reporter(report, done=done, total=total)
    waiting = [run for run in runs if run.number not in state.finished]
    if not waiting:
        # The worker before died after the last network, with nothing left to do but to hand them in.
        return TrainedNetworks(networks=state.finished)
    patches = _gather(video, plan, settings, training_number, device, lambda: say(0))
    for run in waiting:
        own = patches.of_groups(run.groups)
        say = _reporter(report, done=done, total=total)
        module = _trained_module(sharing, run, own, settings, state, device, say)
        delivered = sharing.split(run, module)
        state.finish_run({number: _trained_network(network, own, settings) for number, network in delivered.items()})
        done += run.steps
    return TrainedNetworks(networks=state.finished)


def training_fingerprint(video: VideoFiles, plan: GroupPlan, settings: EncodingSettings, training_number: int) -> str:
    """Names what the weights depend on: a checkpoint of another training must not be resumed."""
    training = settings.training
    general = general_network_sha256(training.architecture, settings.scale) if training.start == "general" else None
    plan_hash = hashlib.sha256(plan.group_of_patch.data)
    plan_hash.update(plan.numbers.data)
    facts = {
        "settings": settings.model_dump(mode="json"),
        "networks": plan.trainings[training_number].networks,
        "general_network": general,
        "source": video.info.source.sha256,
        "base_stream": file_sha256(video.base_stream),
        "plan": plan_hash.hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _reporter(report: Progress, *, done: int, total: int) -> Callable[[int], None]:
    """Called with the steps of a run: tells those of the whole training, of which `done` were before it."""
    return lambda step: report("train", done + step, total, "steps")


def _gather(
    video: VideoFiles,
    plan: GroupPlan,
    settings: EncodingSettings,
    training_number: int,
    device: torch.device,
    sign_of_life: Callable[[], None],
) -> TrainingPatches:
    """What the training sees, all of it from one pass over the frames."""
    channels = settings.training.channels
    room = settings.training.patch_memory_mib * _MIB // bytes_per_patch(video.layout, channels)
    training = plan.trainings[training_number]
    selection = sharing_of(settings).select(plan.group_of_patch, training, room=max(1, room))
    return gather_patches(video, selection, channels=channels, device=device, sign_of_life=sign_of_life)


def _trained_module(
    sharing: Sharing,
    run: Run,
    patches: TrainingPatches,
    settings: EncodingSettings,
    state: Checkpoint,
    device: torch.device,
    report: Callable[[int], None],
) -> nn.Module:
    """One run's module after its last step, without weight norm, in eval mode."""
    training = settings.training
    module = sharing.build(run)
    if find_architecture(training.architecture).weight_norm:
        add_weight_norm(module)
    overfit(
        module,
        patches,
        Schedule(
            steps=run.steps,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            final_learning_rate=training.final_learning_rate,
            seed=(settings.seed, run.number),
        ),
        restore=sharing.restore,
        overhang=settings.scale * settings.patches.halo,
        run_number=run.number,
        checkpoint=state,
        device=device,
        report=report,
    )
    return fold_weight_norm(module).to(device).eval()


def _trained_network(network: nn.Module, patches: TrainingPatches, settings: EncodingSettings) -> TrainedNetwork:
    is_rounded = settings.export.precision == "int8"
    return TrainedNetwork(
        weights={name: value.detach().float().cpu() for name, value in network.state_dict().items()},
        rounded=round_network(network, _typical_pictures(patches)) if is_rounded else None,
        device=device_name(patches.inputs.device),
        torch_version=version("torch"),
    )


def _typical_pictures(patches: TrainingPatches) -> Tensor:
    """Some patches from all over the video: (B, C, H, W) float32 in [0, 1]."""
    count = min(_ROUNDING_PATCHES, len(patches))
    return patches.input_pictures(torch.arange(count, device=patches.seen.device) * len(patches) // count)
