"""A trained network, as it is kept between training and export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core.recipes import EncodingSettings
from models.registry import build_network
from workers.weight_coding import Int8Weights, Precision

_WEIGHTS, _VALUES, _STEPS = "weights.", "int8_values.", "int8_steps."


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedNetwork:
    """The weights of one network, plain: without weight norm."""

    weights: dict[str, Tensor]
    """float32 on the CPU, by the names of `models.registry.build_network`'s network."""
    int8: dict[str, Int8Weights]
    """The convolutions' weights rounded for delivery; empty where they are delivered as floats."""
    patch_count: int
    """Patches that it was trained on."""
    steps: int
    device: str
    """What it was trained on: `cpu`, or the GPU's name."""

    def save(self, path: Path) -> None:
        """Write as safetensors; a reader never sees half a file."""
        tensors = {_WEIGHTS + name: weights for name, weights in self.weights.items()}
        for name, coded in self.int8.items():
            tensors |= {_VALUES + name: coded.values, _STEPS + name: coded.steps}
        facts = {"patch_count": str(self.patch_count), "steps": str(self.steps), "device": self.device}
        unfinished = path.with_suffix(".unfinished")
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, metadata=facts)
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with safe_open(path, framework="pt") as stored:
            facts = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict
        rounded = [name.removeprefix(_VALUES) for name in tensors if name.startswith(_VALUES)]
        return cls(
            weights={name.removeprefix(_WEIGHTS): tensors[name] for name in tensors if name.startswith(_WEIGHTS)},
            int8={name: Int8Weights(values=tensors[_VALUES + name], steps=tensors[_STEPS + name]) for name in rounded},
            patch_count=int(facts["patch_count"]),
            steps=int(facts["steps"]),
            device=facts["device"],
        )

    def network(self, settings: EncodingSettings, precision: Precision) -> nn.Module:
        """The network with its weights as a client decodes them from a file of this precision, in eval mode."""
        training = settings.training
        network = build_network(training.architecture, scale=settings.scale, channels=training.channels)
        network.load_state_dict({name: self._decoded(name, precision) for name in self.weights})
        return network.eval()

    def _decoded(self, name: str, precision: Precision) -> Tensor:
        if precision == "fp16":
            return self.weights[name].half().float()
        if precision == "int8" and name in self.int8:
            return self.int8[name].decoded()
        return self.weights[name]
