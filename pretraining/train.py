"""Train one general network, within a time budget."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from models.general import GENERAL_NETWORK_HALO
from models.registry import find_architecture
from models.weight_norm import add_weight_norm, fold_weight_norm
from pretraining.pairs import PatchBatch, PatchSampler

logger = logging.getLogger(__name__)

_WARM_UP_SHARE = 0.02
_GRADIENT_NORM_LIMIT = 1.0
_AVERAGE_DECAY = 0.998
_LOG_EVERY_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How one network is trained. The schedule follows the elapsed share of the budget, in time.

    The last `full_precision_share` of it runs without bf16: a network that met bf16 alone does not control its weights
    to the last tenths of a per cent, which shows on stretches without detail.
    """

    minutes: float
    learning_rate: float
    batch_size: int
    full_precision_share: float = 0.25
    save_every_minutes: float = 3.0


def train_network(
    network: nn.Module,
    sampler: PatchSampler,
    *,
    architecture: str,
    scale: int,
    settings: TrainingSettings,
    save: Callable[[nn.Module], None],
) -> nn.Module:
    """Train in place on L1 with Adam and cosine decay.

    `save` is handed the averaged weights every few minutes and at the end.

    Returns:
        The exponential moving average of the network's weights, folded, in eval mode.
    """
    device = next(network.parameters()).device
    if find_architecture(architecture).weight_norm:
        add_weight_norm(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    average = AveragedModel(network, avg_fn=_moving_average)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    started = last_log = last_save = time.monotonic()
    budget_seconds = settings.minutes * 60
    losses: list[float] = []
    steps = 0
    while (elapsed := time.monotonic() - started) < budget_seconds:
        share = elapsed / budget_seconds
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(share)
        batch = sampler.draw(settings.batch_size)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=share < 1 - settings.full_precision_share):
            loss = _loss(network, batch, scale=scale, device=device)
        losses.append(_step(network, optimizer, loss))
        average.update_parameters(network)
        steps += 1
        now = time.monotonic()
        if now - last_log > _LOG_EVERY_SECONDS:
            mean_loss = sum(losses) / len(losses)
            logger.info("%s x%d: %.0f s, %d steps, L1 %.5f", architecture, scale, elapsed, steps, mean_loss)
            losses, last_log = [], now
        if now - last_save > settings.save_every_minutes * 60:
            save(fold_weight_norm(average.module))
            last_save = now
    trained = fold_weight_norm(average.module).eval()
    save(trained)
    logger.info("%s x%d: finished after %d steps", architecture, scale, steps)
    return trained


def interior_l1(restored: Tensor, high_res: Tensor, *, scale: int) -> Tensor:
    """Mean absolute error over the patch alone: what the halo gave is cut off, as the bundle format does."""
    overhang = scale * GENERAL_NETWORK_HALO
    return F.l1_loss(restored[..., overhang:-overhang, overhang:-overhang], high_res)


def _loss(network: nn.Module, batch: PatchBatch, *, scale: int, device: torch.device) -> Tensor:
    low_res = torch.from_numpy(batch.low_res).to(device).float().div_(255).to(memory_format=torch.channels_last)
    high_res = torch.from_numpy(batch.high_res).to(device).float().div_(255)
    return interior_l1(network(low_res).float(), high_res, scale=scale)


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), _GRADIENT_NORM_LIMIT)
    optimizer.step()
    return loss.item()


def _moving_average(average: Tensor, value: Tensor, averaged: Tensor | int) -> Tensor:
    """Exponential, with a shorter memory over the first steps, so that the start is soon forgotten."""
    return average.lerp(value, 1 - min(_AVERAGE_DECAY, (1 + int(averaged)) / (10 + int(averaged))))


def _schedule(elapsed_share: float) -> float:
    """A short linear warm-up, then a cosine to zero."""
    if elapsed_share < _WARM_UP_SHARE:
        return (elapsed_share + 0.001) / (_WARM_UP_SHARE + 0.001)
    return 0.5 * (1 + math.cos(math.pi * elapsed_share))
