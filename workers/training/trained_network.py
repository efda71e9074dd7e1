"""A trained network, as it is kept between training and export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core.presets import EncodingSettings
from models.registry import build_network
from workers.training.weight_coding import Int8Weights, Precision, RoundedNetwork

_WEIGHTS, _VALUES, _STEPS, _BIASES = "weights.", "int8_values.", "int8_steps.", "int8_biases."


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedNetwork:
    """The weights of one network, plain: without weight norm."""

    weights: dict[str, Tensor]
    """float32 on the CPU, by the names of `models.registry.build_network`'s network."""
    rounded: RoundedNetwork | None
    """Its convolutions rounded for delivery; None where they are delivered as floats."""
    device: str
    """What it was trained on: `cpu`, or the GPU's name."""
    torch_version: str
    """What it was trained with: the bundle may be finished on another machine."""

    def save(self, path: Path) -> None:
        """Write as safetensors; a reader never sees half a file."""
        tensors = {_WEIGHTS + name: weights for name, weights in self.weights.items()}
        if self.rounded is not None:
            tensors |= _stored_rounded(self.rounded)
        facts = {"device": self.device, "torch_version": self.torch_version}
        unfinished = path.with_suffix(".unfinished")
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, metadata=facts)
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with safe_open(path, framework="pt") as stored:
            facts = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict
        return cls(
            weights=_below(_WEIGHTS, tensors),
            rounded=_loaded_rounded(tensors),
            device=facts["device"],
            torch_version=facts["torch_version"],
        )

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
            return self.weights | self.rounded.decoded()
        return self.weights


def _stored_rounded(rounded: RoundedNetwork) -> dict[str, Tensor]:
    values = {_VALUES + name: coded.values for name, coded in rounded.weights.items()}
    steps = {_STEPS + name: coded.steps for name, coded in rounded.weights.items()}
    return values | steps | {_BIASES + name: bias for name, bias in rounded.biases.items()}


def _loaded_rounded(tensors: dict[str, Tensor]) -> RoundedNetwork | None:
    values, steps = _below(_VALUES, tensors), _below(_STEPS, tensors)
    if not values:
        return None
    weights = {name: Int8Weights(values=values[name], steps=steps[name]) for name in values}
    return RoundedNetwork(weights=weights, biases=_below(_BIASES, tensors))


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
