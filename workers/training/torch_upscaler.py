"""A network in torch behind the decoder's Upscaler protocol: how f0 runs on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from models.channels import Channels
from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import Image, peak, sample_type


class TorchUpscaler:
    """A stdo.networks.upscale.Upscaler in torch: float32, and rounded to whole samples as docs/FORMAT.md says."""

    def __init__(
        self, network: nn.Module, *, scale: int, channels: Channels, device: torch.device, batch_size: int = 16
    ) -> None:
        self.scale = scale
        self.channels = channels
        self._device = device
        self._batch_size = batch_size
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def __call__(self, patches: Image, *, base_bit_depth: BitDepth, bit_depth: BitDepth) -> Image:
        """See `Upscaler`."""
        # torch has little arithmetic for uint16; the bits of 10-bit samples are those of int16.
        samples = torch.from_numpy(patches if base_bit_depth == 8 else patches.view(np.int16))
        batches = torch.split(samples, self._batch_size)
        restored = [self._upscale(batch, peak(base_bit_depth), peak(bit_depth)) for batch in batches]
        return torch.cat(restored).numpy().astype(sample_type(bit_depth))

    @torch.inference_mode()
    def _upscale(self, patches: torch.Tensor, input_peak: int, output_peak: int) -> torch.Tensor:
        # Channels are last already, so that the permuted view is in the layout that convolutions are fastest in.
        inputs = patches.to(self._device).permute(0, 3, 1, 2).float().div_(input_peak)
        # A copy: at scale 1 a network may give back what it got.
        restored = self._network(inputs).mul(output_peak).add_(0.5).floor_().clamp_(0, output_peak)
        samples: torch.Tensor = restored.permute(0, 2, 3, 1).to(torch.int16).cpu()
        return samples.contiguous()
