"""What the networks of a job have in common: one class for each way, and nothing outside asks which one it is.

A *training* makes one network or several from one pass over the frames. It consists of *runs*: each run is one module
with one optimiser, of which one delivered network or several come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from core.encoding_settings import EncodingSettings, SharingName
from models.general import load_general_network
from models.registry import build_network
from workers.training.joint_set import group_sizes, joint_set_counts, sample_joint_set
from workers.training.patch_selection import PatchSelection, even_sample, fair_shares

IndexArray = npt.NDArray[np.uint8]
"""(frames, rows * columns) uint8"""


@dataclass(frozen=True, kw_only=True)
class Training:
    """1 to n networks that are trained from one pass over the frames."""

    number: int
    networks: tuple[int, ...]
    """Their network numbers."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One module with one optimiser."""

    number: int
    """The first network number that comes of it: what its seeds are drawn by, and its name in a checkpoint."""
    groups: frozenset[int]
    """The labels of the patches that it is trained on."""
    steps: int
    """Optimiser steps."""


class Sharing(Protocol):
    """How the networks of one job are made of its groups."""

    @property
    def network_count(self) -> int:
        """Networks that the settings ask for. There are fewer where there are fewer patches than groups."""

    def network_numbers(self, group_of_patch: IndexArray) -> IndexArray:
        """The patch index: which network restores each patch.

        Raises:
            workers.training.joint_set.JointSetSizeError: the settings can't be met with these groups.
        """

    def trainings(self, network_count: int) -> tuple[Training, ...]:
        """How so many networks are spread over trainings."""

    def select(self, group_of_patch: IndexArray, training: Training, *, room: int) -> PatchSelection:
        """The patches that a training sees, thinned evenly to `room` of them."""

    def runs(self, training: Training) -> tuple[Run, ...]:
        """What is optimised, one after another or at the same time: no run depends on another."""

    def build(self, run: Run) -> nn.Module:
        """A run's module before its first step, plain: without weight norm."""

    def restore(self, module: nn.Module, inputs: Tensor, groups: Tensor) -> Tensor:
        """The forward pass of one step.

        Args:
            inputs: (B, C, H, W) float
            groups: (B,) uint8, the label of each patch
        """

    def split(self, run: Run, module: nn.Module) -> Mapping[int, nn.Module]:
        """The delivered networks, by their numbers, of a run's trained module, plain."""


@dataclass(frozen=True, kw_only=True)
class _OneNetworkARun:
    """A run's module is a network: it is built, run and delivered as it is, and knows nothing of labels."""

    settings: EncodingSettings

    @property
    def network_count(self) -> int:
        return self.settings.group_count

    def build(self, run: Run) -> nn.Module:
        return starting_network(self.settings, seed=self.settings.seed * self.network_count + run.number)

    # The arguments are the protocol's.
    def restore(self, module: nn.Module, inputs: Tensor, groups: Tensor) -> Tensor:  # noqa: ARG002
        restored: Tensor = module(inputs)
        return restored

    def split(self, run: Run, module: nn.Module) -> Mapping[int, nn.Module]:
        return {run.number: module}


class SeparateSharing(_OneNetworkARun):
    """One network a group, which has seen nothing of the others. Group and network have the same number."""

    def network_numbers(self, group_of_patch: IndexArray) -> IndexArray:
        return group_of_patch

    def trainings(self, network_count: int) -> tuple[Training, ...]:
        shares = np.array_split(np.arange(network_count), min(network_count, self.settings.training.split_over))
        return tuple(Training(number=number, networks=tuple(share.tolist())) for number, share in enumerate(shares))

    def select(self, group_of_patch: IndexArray, training: Training, *, room: int) -> PatchSelection:
        groups = group_of_patch.reshape(-1)
        counts = [int(np.count_nonzero(groups == number)) for number in training.networks]
        shares = fair_shares(counts, room)
        chosen = [even_sample(groups == number, share) for number, share in zip(training.networks, shares, strict=True)]
        numbers = np.sort(np.concatenate(chosen))
        return PatchSelection(numbers=numbers, groups=groups[numbers])

    def runs(self, training: Training) -> tuple[Run, ...]:
        return tuple(
            Run(number=number, groups=frozenset({number}), steps=self._steps(number)) for number in training.networks
        )

    def _steps(self, network_number: int) -> int:
        """An equal share of `training.steps`, at least one step; the first networks get one more of what is left."""
        share, rest = divmod(self.settings.training.steps, self.network_count)
        return max(1, share + (network_number < rest))


class JointSharing(_OneNetworkARun):
    """One network for all groups, trained on a set that favours the hard ones (paper section 3.3)."""

    @property
    def network_count(self) -> int:
        return 1

    def network_numbers(self, group_of_patch: IndexArray) -> IndexArray:
        # Computed for its check alone: a count that can't be met shall fail before any training.
        joint_set_counts(group_sizes(group_of_patch, self.settings.group_count), self.settings.training)
        return np.zeros_like(group_of_patch)

    def trainings(self, network_count: int) -> tuple[Training, ...]:
        return (Training(number=0, networks=tuple(range(network_count))),)

    # The arguments are the protocol's.
    def select(self, group_of_patch: IndexArray, training: Training, *, room: int) -> PatchSelection:  # noqa: ARG002
        settings = self.settings
        is_member = sample_joint_set(group_of_patch, settings.group_count, settings.training, seed=settings.seed)
        numbers = even_sample(is_member, room)
        return PatchSelection(numbers=numbers, groups=group_of_patch.reshape(-1)[numbers])

    def runs(self, training: Training) -> tuple[Run, ...]:
        every_group, steps = frozenset(range(self.settings.group_count)), self.settings.training.steps
        return tuple(Run(number=number, groups=every_group, steps=steps) for number in training.networks)


SHARINGS: Mapping[SharingName, Callable[[EncodingSettings], Sharing]] = {
    "separate": lambda settings: SeparateSharing(settings=settings),
    "joint": lambda settings: JointSharing(settings=settings),
}


def sharing_of(settings: EncodingSettings) -> Sharing:
    """The way that the settings' method shares."""
    return SHARINGS[settings.sharing](settings)


def starting_network(settings: EncodingSettings, *, seed: int) -> nn.Module:
    """A network before its first step: the general network f0, or fresh weights drawn by the seed."""
    training = settings.training
    if training.start == "general":
        return load_general_network(training.architecture, scale=settings.scale, channels=training.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(training.architecture, scale=settings.scale, channels=training.channels)
