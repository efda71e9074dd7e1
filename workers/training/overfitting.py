"""The training loop: one network, the patches in device memory, L1 on the patch's interior (paper section 4.1)."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.errors import TrainingDivergedError
from workers.training.checkpoints import resume_checkpoint, save_checkpoint
from workers.training.device import has_native_bfloat16
from workers.training.patches import TrainingPatches

_ADAM_BETAS = (0.9, 0.999)
"""The paper prints beta2 = 0.009, a typing error: its published code takes Adam's default, 0.999."""
_FULL_PRECISION_SHARE = 0.25
"""Of the steps, at the end. bfloat16 rounds a smooth sky to visible steps, which the network learns to work around:
wrongly for the float32 that it is run in."""
_COMPILE_FROM_STEPS = 5000
"""torch.compile takes half a minute; shorter runs don't win that back. On CPUs it gains too little at any length."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How one network is trained."""

    steps: int
    batch_size: int
    """Patches a step; fewer where there are fewer in all."""
    learning_rate: float
    final_learning_rate: float
    seed: tuple[int, ...]
    """Of the order of the patches."""

    def learning_rate_at(self, step: int) -> float:
        """Half a cosine from `learning_rate` at step 0 towards `final_learning_rate`."""
        fall = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * fall


@dataclass(frozen=True, kw_only=True)
class CheckpointPlan:
    """Where a run leaves its state, how often, and what it is known by."""

    path: Path
    interval_seconds: float
    fingerprint: str


class ShuffledEpochs:
    """Which patches a step sees: every epoch once through all of them, in an order that the seed and its number give.

    A function of the step alone, so that a resumed run goes on with the very same patches. What doesn't fill a batch at
    an epoch's end waits for the next one.
    """

    def __init__(self, *, patch_count: int, batch_size: int, seed: tuple[int, ...], device: torch.device) -> None:
        self._patch_count = patch_count
        self._batch_size = min(batch_size, patch_count)
        self._seed = seed
        self._device = device
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def batch(self, step: int) -> Tensor:
        """(B,) int64 patch numbers on the device."""
        epoch, place = divmod(step, self._patch_count // self._batch_size)
        if epoch != self._epoch:
            order = np.random.default_rng([*self._seed, epoch]).permutation(self._patch_count)
            self._order, self._epoch = torch.from_numpy(order).to(self._device), epoch
        return self._order[place * self._batch_size : (place + 1) * self._batch_size]


def overfit(
    network: nn.Module,
    patches: TrainingPatches,
    schedule: Schedule,
    *,
    overhang: int,
    checkpoints: CheckpointPlan,
    device: torch.device,
    report: Callable[[int], None],
) -> None:
    """Train the network in place, from its last checkpoint where there is one.

    On a CPU the weights depend on nothing but the arguments and torch's thread count, however often the run was
    interrupted.

    Args:
        overhang: what the halo gives, in high-resolution pixels on each side: outside the loss.
        report: called after every step with the number of steps done.

    Raises:
        TrainingDivergedError: the weights are no finite numbers any more.
    """
    network.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=schedule.learning_rate, betas=_ADAM_BETAS, eps=1e-8)
    done = resume_checkpoint(checkpoints.path, network, optimizer, fingerprint=checkpoints.fingerprint)
    epochs = ShuffledEpochs(patch_count=len(patches), batch_size=schedule.batch_size, seed=schedule.seed, device=device)
    forward = _forward(network, device, steps=schedule.steps - done)
    last_saved = time.monotonic()
    for step in range(done, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate_at(step)
        mixed_precision = step < schedule.steps * (1 - _FULL_PRECISION_SHARE)
        loss = _loss(forward[mixed_precision], patches, epochs.batch(step), overhang=overhang)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if time.monotonic() - last_saved >= checkpoints.interval_seconds:
            _check_finite(network, step + 1)
            save_checkpoint(checkpoints.path, network, optimizer, step=step + 1, fingerprint=checkpoints.fingerprint)
            last_saved = time.monotonic()
        report(step + 1)
    _check_finite(network, schedule.steps)


def _check_finite(network: nn.Module, step: int) -> None:
    """Look at all weights: now and then only, since a GPU is waited for. Once not a number, they stay so."""
    if not all(bool(weights.isfinite().all()) for weights in network.parameters()):
        raise TrainingDivergedError(
            f"After {step} steps the weights are no finite numbers any more. Lower training.learning_rate."
        )


def _forward(network: nn.Module, device: torch.device, *, steps: int) -> dict[bool, Callable[[Tensor], Tensor]]:
    """The network's forward pass, compiled where that pays: in bfloat16 where the device has it (True), in float32."""
    compiled: Callable[[Tensor], Tensor] = network
    # Compiling for a GPU needs a C compiler on the machine.
    if device.type == "cuda" and steps >= _COMPILE_FROM_STEPS and (shutil.which("cc") or shutil.which("gcc")):
        compiled = torch.compile(network)

    def mixed(low_res: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_native_bfloat16(device)):
            return compiled(low_res).float()

    return {True: mixed, False: compiled}


def _loss(forward: Callable[[Tensor], Tensor], patches: TrainingPatches, numbers: Tensor, *, overhang: int) -> Tensor:
    # (B, H, W, C) seen as (B, C, H, W) is the channels-last layout itself: nothing is copied for it.
    low_res = patches.low_res[numbers].permute(0, 3, 1, 2).float().div_(255)
    high_res = patches.high_res[numbers].permute(0, 3, 1, 2).float().div_(255)
    height, width = high_res.shape[2:]
    interior = forward(low_res)[:, :, overhang : overhang + height, overhang : overhang + width]
    return F.l1_loss(interior, high_res)
