"""Trained networks, as they are kept between training and export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor, nn

from core.encoding_settings import EncodingSettings
from models.registry import build_network
from workers.training.tensor_files import put_under, read_tensors, under, write_tensors
from workers.training.weight_rounding import Int8Weights, Precision, RoundedNetwork

_WEIGHTS, _VALUES, _SCALES, _BIASES = "weights.", "int8_values.", "int8_scales.", "int8_biases."
_FACTS = "networks"


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedNetwork:
    """The weights of one network, plain: without weight norm."""

    weights: Mapping[str, Tensor]
    """float32 on the CPU, by the names of `models.registry.build_network`'s network."""
    rounded: RoundedNetwork | None
    """Its convolutions rounded for delivery; None where they are delivered as floats."""
    device: str
    """What it was trained on: `cpu`, or the GPU's name."""
    torch_version: str
    """What it was trained with: the bundle may be finished on another machine."""

    def network(self, settings: EncodingSettings, precision: Precision) -> nn.Module:
        """The network with its weights as a client decodes them from a file of this precision, in eval mode."""
        training = settings.training
        network = build_network(training.architecture, scale=settings.scale, channels=training.channels)
        network.load_state_dict(self._decoded(precision))
        return network.eval()

    def _decoded(self, precision: Precision) -> dict[str, Tensor]:
        if precision == "fp16":
            return {name: weights.half().float() for name, weights in self.weights.items()}
        if precision == "int8" and self.rounded is not None:
            return {**self.weights, **self.rounded.decoded()}
        return dict(self.weights)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedNetworks:
    """What one training has made."""

    networks: Mapping[int, TrainedNetwork]
    """By their network numbers."""

    def save(self, path: Path) -> None:
        """Write as one safetensors file; a reader never sees half of it."""
        write_tensors(path, self.tensors(), self.facts())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        return cls.from_tensors(*read_tensors(path))

    def tensors(self) -> dict[str, Tensor]:
        """All tensors under names of their own, `<network number>.<what>.<name>`."""
        stored: dict[str, Tensor] = {}
        for number, network in self.networks.items():
            stored |= put_under(f"{number}.", _stored(network))
        return stored

    def facts(self) -> dict[str, str]:
        """What is to be known besides the tensors."""
        facts = {
            number: {"device": network.device, "torch_version": network.torch_version}
            for number, network in self.networks.items()
        }
        return {_FACTS: json.dumps(facts)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> Self:
        """What `tensors` and `facts` were made of."""
        return cls(
            networks={
                int(number): _loaded(under(f"{number}.", tensors), network_facts)
                for number, network_facts in json.loads(facts[_FACTS]).items()
            }
        )


def _stored(network: TrainedNetwork) -> dict[str, Tensor]:
    tensors = put_under(_WEIGHTS, network.weights)
    if (rounded := network.rounded) is not None:
        tensors |= put_under(_VALUES, {name: coded.values for name, coded in rounded.weights.items()})
        tensors |= put_under(_SCALES, {name: coded.scales for name, coded in rounded.weights.items()})
        tensors |= put_under(_BIASES, rounded.biases)
    return tensors


def _loaded(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> TrainedNetwork:
    return TrainedNetwork(
        weights=under(_WEIGHTS, tensors),
        rounded=_loaded_rounded(tensors),
        device=facts["device"],
        torch_version=facts["torch_version"],
    )


def _loaded_rounded(tensors: Mapping[str, Tensor]) -> RoundedNetwork | None:
    values, scales = under(_VALUES, tensors), under(_SCALES, tensors)
    if not values:
        return None
    weights = {name: Int8Weights(values=values[name], scales=scales[name]) for name in values}
    return RoundedNetwork(weights=weights, biases=under(_BIASES, tensors))
