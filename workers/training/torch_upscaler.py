"""A network in torch behind the decoder's Upscaler protocol: how f0 runs on the device."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from stdo.bundle.geometry import Image


class TorchUpscaler:
    """A stdo.decoder.upscale.Upscaler in torch: float32, and rounded to 8 bit as docs/FORMAT.md says."""

    def __init__(
        self,
        network: nn.Module,
        *,
        scale: int,
        channels: Literal["rgb", "luma"],
        device: torch.device,
        batch_size: int = 16,
    ) -> None:
        self.scale = scale
        self.channels = channels
        self._device = device
        self._batch_size = batch_size
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def __call__(self, patches: Image) -> Image:
        """(B, H, W, C) uint8 -> (B, scale*H, scale*W, C) uint8."""
        batches = torch.split(torch.from_numpy(patches), self._batch_size)
        restored = [self._upscale(batch) for batch in batches]
        return torch.cat(restored).numpy()

    @torch.inference_mode()
    def _upscale(self, patches: torch.Tensor) -> torch.Tensor:
        # Channels are last already, so that the permuted view is in the layout that convolutions are fastest in.
        lr = patches.to(self._device).permute(0, 3, 1, 2).float().div_(255)
        hr = self._network(lr).mul_(255).add_(0.5).floor_().clamp_(0, 255)
        pixels: torch.Tensor = hr.permute(0, 2, 3, 1).to(torch.uint8).cpu()
        return pixels.contiguous()
