"""The training loop: one module, the patches in device memory, L1 on the patch's interior (paper section 4.1)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.errors import TrainingDivergedError
from workers.training.checkpoints import Checkpoint
from workers.training.device import has_native_bfloat16
from workers.training.patches import TrainingPatches

_ADAM_BETAS = (0.9, 0.999)
"""The paper prints beta2 = 0.009, a typing error: its published code takes Adam's default, 0.999."""
_FULL_PRECISION_SHARE = 0.25
"""The last quarter of the training steps goes without bfloat16. That type rounds a smooth sky to visible bands. A
network learns to work around them, which is wrong for the float32 that it is run in later."""
_COMPILE_FROM_STEPS = 5000
"""torch.compile takes half a minute; shorter runs don't win that back. On CPUs it gains too little at any length."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How one module is trained."""

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
        """(B,) int64 places of patches, on the device."""
        epoch, place = divmod(step, self._patch_count // self._batch_size)
        if epoch != self._epoch:
            order = np.random.default_rng([*self._seed, epoch]).permutation(self._patch_count)
            self._order, self._epoch = torch.from_numpy(order).to(self._device), epoch
        return self._order[place * self._batch_size : (place + 1) * self._batch_size]


Restore = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""A forward pass: the module, (B, C, H, W) inputs and (B,) group labels -> (B, C, h, w)."""


def overfit(
    module: nn.Module,
    patches: TrainingPatches,
    schedule: Schedule,
    *,
    restore: Restore,
    overhang: int,
    run_number: int,
    checkpoint: Checkpoint,
    device: torch.device,
    report: Callable[[int], None],
) -> None:
    """Train the module in place, from its checkpoint where there is one.

    On a CPU the weights depend on nothing but the arguments and torch's thread count, however often the run was
    interrupted. A GPU adds up in an order of its own, and repeats itself but for the last bits.

    Args:
        overhang: what the halo gives, in pixels of the picture on each side: outside the loss.
        run_number: names the run in the checkpoint.
        report: called after every step with the number of steps done.

    Raises:
        TrainingDivergedError: the weights are no finite numbers any more.
    """
    module.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(module.parameters(), lr=schedule.learning_rate, betas=_ADAM_BETAS, eps=1e-8)
    done = checkpoint.resume(run_number, module, optimizer)
    epochs = ShuffledEpochs(patch_count=len(patches), batch_size=schedule.batch_size, seed=schedule.seed, device=device)
    forward = _forward(module, restore, device, steps=schedule.steps)
    for step in range(done, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate_at(step)
        mixed_precision = step < schedule.steps * (1 - _FULL_PRECISION_SHARE)
        loss = _loss(forward[mixed_precision], patches, epochs.batch(step), overhang=overhang)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if checkpoint.is_due():
            _check_finite(module, step + 1)
            checkpoint.save(run_number, module, optimizer, step=step + 1)
        report(step + 1)
    _check_finite(module, schedule.steps)


def _check_finite(module: nn.Module, step: int) -> None:
    """Look at all weights: now and then only, since a GPU is waited for. Once not a number, they stay so."""
    if not all(bool(weights.isfinite().all()) for weights in module.parameters()):
        raise TrainingDivergedError(
            f"After {step} steps the weights are no finite numbers any more. Lower training.learning_rate."
        )


_Forward = Callable[[Tensor, Tensor], Tensor]


def _forward(module: nn.Module, restore: Restore, device: torch.device, *, steps: int) -> dict[bool, _Forward]:
    """The forward pass, compiled where that pays: in bfloat16 where the device has it (True), in float32 (False).

    Args:
        steps: of the whole run, so that a resumed one is compiled as it was before.
    """
    compiled = module
    # Compiling for a GPU needs a C compiler on the machine.
    if device.type == "cuda" and steps >= _COMPILE_FROM_STEPS and (shutil.which("cc") or shutil.which("gcc")):
        compiled = torch.compile(module)  # type: ignore[assignment]

    def exact(inputs: Tensor, groups: Tensor) -> Tensor:
        return restore(compiled, inputs, groups)

    def mixed(inputs: Tensor, groups: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_native_bfloat16(device)):
            return exact(inputs, groups).float()

    return {True: mixed, False: exact}


def _loss(forward: _Forward, patches: TrainingPatches, places: Tensor, *, overhang: int) -> Tensor:
    targets = patches.target_pictures(places)
    height, width = targets.shape[2:]
    restored = forward(patches.input_pictures(places), patches.group_labels(places))
    return F.l1_loss(restored[:, :, overhang : overhang + height, overhang : overhang + width], targets)
