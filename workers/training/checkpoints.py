"""Checkpoints of a training run: safetensors, written whole or not at all, and only ever resumed by the same run.

The order of the patches and the learning rate are functions of the seed and the step, so that the step is all there is
to store of them; nothing else in training is random.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

logger = logging.getLogger(__name__)

_NETWORK = "network."
_OPTIMIZER = "optimizer."


def save_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, *, step: int, fingerprint: str
) -> None:
    """Write the state after `step` optimiser steps.

    Args:
        fingerprint: names the run: what the weights depend on besides the number of steps.
    """
    tensors = {_NETWORK + key: value for key, value in network.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"{_OPTIMIZER}{number}.{key}": value for key, value in state.items()}
    unfinished = path.with_suffix(".unfinished")
    save_file(
        {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
        unfinished,
        metadata={"step": str(step), "fingerprint": fingerprint},
    )
    unfinished.replace(path)


def resume_checkpoint(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, *, fingerprint: str) -> int:
    """Put network and optimiser into the state of the checkpoint, if there is one of this very run.

    Returns:
        Steps done already: 0 where there is no checkpoint, or it is unreadable or another run's (which is logged).
    """
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        logger.warning("the checkpoint %s can't be read (%s): starting anew", path.name, error)
        return 0
    if metadata.get("fingerprint") != fingerprint:
        logger.warning("the checkpoint %s is of another run: starting anew", path.name)
        return 0
    network.load_state_dict(dict(_below(_NETWORK, tensors)))
    _restore_optimizer(optimizer, tensors)
    return int(metadata["step"])


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(_OPTIMIZER, tensors):
        number, key = name.split(".")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _below(prefix: str, tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((key.removeprefix(prefix), value) for key, value in tensors.items() if key.startswith(prefix))
