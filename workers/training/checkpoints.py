"""The checkpoint of a training: the networks that are finished, and the state of the one that is being trained.

One safetensors file, only ever resumed by the same training. The order of the patches and the learning rate follow from
the seed and the number of the training step, and nothing else is random. So the file holds the weights, the optimiser's
state and that number.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from workers.training.tensor_files import put_under, read_tensors, under, write_tensors
from workers.training.trained_network import TrainedNetwork, TrainedNetworks

logger = logging.getLogger(__name__)

_FINISHED, _NETWORK, _OPTIMIZER = "finished.", "network.", "optimizer."


@dataclass(frozen=True, kw_only=True, eq=False)
class RunState:
    """A run in the middle: which one, after how many optimiser steps, and its tensors."""

    run_number: int
    step: int
    network: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    """`<parameter number>.<name>`"""


class Checkpoint:
    """What a training leaves behind while it goes on, and finds again."""

    def __init__(self, path: Path, *, interval_seconds: float, fingerprint: str) -> None:
        """Read the file, if there is one of this very training.

        Args:
            interval_seconds: between two saves of a run's state.
            fingerprint: names the training by all that its weights depend on. Where the file is another's, or
                unreadable, that is logged, and the training starts anew.
        """
        self._path = path
        self._interval_seconds = interval_seconds
        self._fingerprint = fingerprint
        self._last_saved = time.monotonic()
        self.finished: dict[int, TrainedNetwork] = {}
        self._running: RunState | None = None
        if path.exists():
            self._read()

    def resume(self, run_number: int, network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Put network and optimiser into the state that was saved of this run, if any was.

        Returns:
            Optimiser steps done already.
        """
        if self._running is None or self._running.run_number != run_number:
            return 0
        network.load_state_dict(self._running.network)
        _restore_optimizer(optimizer, self._running.optimizer)
        return self._running.step

    def is_due(self) -> bool:
        """Whether the interval since the last save is over."""
        return time.monotonic() - self._last_saved >= self._interval_seconds

    def save(self, run_number: int, network: nn.Module, optimizer: torch.optim.Optimizer, *, step: int) -> None:
        """Write the state after `step` optimiser steps of a run, beside what is finished."""
        state = optimizer.state_dict()["state"]
        tensors = {f"{number}.{key}": value for number, values in state.items() for key, value in values.items()}
        running = RunState(run_number=run_number, step=step, network=network.state_dict(), optimizer=tensors)
        self._write(running)

    def finish_run(self, networks: Mapping[int, TrainedNetwork]) -> None:
        """A run is over, and these networks have come of it."""
        self.finished |= networks
        self._write(None)

    def _write(self, running: RunState | None) -> None:
        finished = TrainedNetworks(networks=self.finished)
        tensors = put_under(_FINISHED, finished.tensors())
        facts = {"fingerprint": self._fingerprint, **finished.facts()}
        if running is not None:
            tensors |= put_under(_NETWORK, running.network) | put_under(_OPTIMIZER, running.optimizer)
            facts |= {"run_number": str(running.run_number), "step": str(running.step)}
        write_tensors(self._path, tensors, facts)
        self._last_saved = time.monotonic()

    def _read(self) -> None:
        try:
            tensors, facts = read_tensors(self._path)
        except SafetensorError as error:
            logger.warning("the checkpoint %s can't be read (%s): starting anew", self._path.name, error)
            return
        if facts.get("fingerprint") != self._fingerprint:
            logger.warning("the checkpoint %s is of another training: starting anew", self._path.name)
            return
        self.finished = dict(TrainedNetworks.from_tensors(under(_FINISHED, tensors), facts).networks)
        if "step" in facts:
            self._running = RunState(
                run_number=int(facts["run_number"]),
                step=int(facts["step"]),
                network=under(_NETWORK, tensors),
                optimizer=under(_OPTIMIZER, tensors),
            )


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
