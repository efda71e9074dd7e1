"""The trained networks of a job, with the very weights that are delivered, and how they are run to be measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from torch import nn

from core.encoding_settings import EncodingSettings
from stdo.bundle.bundle import Bundle
from stdo.decoder.reconstruction import BundleNetworks, RunOptions
from stdo.networks.upscale import Upscaler
from workers.training.torch_upscaler import TorchUpscaler
from workers.training.trained_network import TrainedNetwork, TrainedNetworks


@dataclass(frozen=True, kw_only=True, eq=False)
class JobNetworks:
    """All networks of a job, by number."""

    trained: Sequence[TrainedNetwork]
    settings: EncodingSettings

    @classmethod
    def load(cls, trainings: Iterable[Path], settings: EncodingSettings) -> Self:
        """Read what the trainings have made: together, networks of the numbers from 0."""
        found = {
            number: network for path in trainings for number, network in TrainedNetworks.load(path).networks.items()
        }
        return cls(trained=[found[number] for number in range(len(found))], settings=settings)

    @cached_property
    def modules(self) -> list[nn.Module]:
        """Each with its weights as a client decodes them."""
        return [network.network(self.settings, self.settings.export.precision) for network in self.trained]

    @property
    def devices(self) -> str:
        """What they were trained on."""
        return ", ".join(sorted({network.device for network in self.trained}))

    @property
    def torch_versions(self) -> str:
        """What they were trained with."""
        return ", ".join(sorted({network.torch_version for network in self.trained}))

    def delivered_upscalers(self, bundle: Bundle, device: torch.device) -> Sequence[Upscaler]:
        """The networks with the delivered weights: the bundle's files in ONNX Runtime, or in torch on a GPU."""
        if device.type != "cpu":
            return self._in_torch(self.modules, device)
        # One thread each, since frames are restored side by side (workers.training.frame_threads). All are loaded at
        # once: two frames that need a network for the first time would load it twice.
        return BundleNetworks(bundle, RunOptions(threads=1))[:]

    def exact_upscalers(self, device: torch.device) -> Sequence[Upscaler] | None:
        """The networks with float32 weights; None where the delivered ones have them already."""
        if self.settings.export.precision == "fp32":
            return None
        return self._in_torch([network.network(self.settings, "fp32") for network in self.trained], device)

    def _in_torch(self, modules: Iterable[nn.Module], device: torch.device) -> list[Upscaler]:
        scale, channels = self.settings.scale, self.settings.training.channels
        return [TorchUpscaler(module, scale=scale, channels=channels, device=device) for module in modules]
