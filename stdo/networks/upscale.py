"""Networks at work: patches in, larger patches out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import Image, peak, sample_type
from stdo.bundle.manifest import Channels
from stdo.errors import NetworkError
from stdo.networks.onnx_profile import check_profile

CHANNEL_COUNTS: Mapping[Channels, int] = {"rgb": 3, "yuv": 6, "luma": 1}
"""Planes that a network reads and writes."""
CPU_PROVIDERS = ("CPUExecutionProvider",)


class Upscaler(Protocol):
    """A network that restores patches. Other run times than ONNX Runtime plug in here."""

    @property
    def scale(self) -> int: ...

    @property
    def channels(self) -> Channels: ...

    def __call__(self, patches: Image, *, base_bit_depth: BitDepth, bit_depth: BitDepth) -> Image:
        """(B, H, W, C) of the base stream's depth -> (B, scale * H, scale * W, C) of the picture's.

        C is 3 for `rgb`, 1 for `luma`, 6 for `yuv`: four phases of Y, then U and V, all at half size.
        """
        ...


class OnnxUpscaler:
    """Runs an ONNX network (docs/FORMAT.md, section 7) with ONNX Runtime."""

    def __init__(
        self,
        model: bytes | Path,
        *,
        scale: int,
        channels: Channels,
        threads: int = 0,
        providers: Sequence[str] = CPU_PROVIDERS,
    ) -> None:
        """Load a network.

        Args:
            model: the ONNX file, or its bytes.
            threads: processor threads of one run; 0 is one for each core.
            providers: ONNX Runtime's execution providers, the preferred one first.

        Raises:
            NetworkError: it is outside of the format's closed profile, or can't be loaded; or this ONNX Runtime lacks
                a provider.
        """
        self.scale = scale
        self.channels: Channels = channels
        data = model.read_bytes() if isinstance(model, Path) else model
        check_profile(data)
        _check_providers(providers)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # What goes wrong is in the exceptions.
        # A second guard beside the profile: were there weights in other files, no folder would have them.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        # int8 weights are then decoded once, on loading, so that layers fuse as with float ones: a third faster to run.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=list(providers))
        except Exception as error:  # ONNX Runtime raises an unrelated type for each kind of fault.
            raise NetworkError(f"ONNX Runtime can't load the network: {error}") from error

    def __call__(self, patches: Image, *, base_bit_depth: BitDepth, bit_depth: BitDepth) -> Image:
        """See `Upscaler`.

        Raises:
            NetworkError: the network can't run on such patches, or answers with another size.
        """
        batch, height, width, channel_count = patches.shape
        if channel_count != CHANNEL_COUNTS[self.channels]:
            raise ValueError(
                f"a {self.channels} network reads {CHANNEL_COUNTS[self.channels]} channels: {patches.shape = }"
            )
        samples = patches.transpose(0, 3, 1, 2).astype(np.float32)
        samples /= np.float32(peak(base_bit_depth))
        try:
            (output,) = self._session.run(["hr"], {"lr": samples})
        except Exception as error:
            raise NetworkError(f"The network can't restore patches of {width}x{height} pixels: {error}") from error
        expected = (batch, channel_count, height * self.scale, width * self.scale)
        if output.shape != expected:
            raise NetworkError(f"The network answers with shape {output.shape} where the format demands {expected}.")
        return _to_samples(output, bit_depth)


def _check_providers(providers: Sequence[str]) -> None:
    available = onnxruntime.get_available_providers()
    missing = [provider for provider in providers if provider not in available]
    if missing:
        raise NetworkError(
            f"This ONNX Runtime has no {', '.join(missing)}. It has {', '.join(available)}: choose one of these, or "
            "install the build of ONNX Runtime that has the one wanted."
        )


def _to_samples(output: npt.NDArray[np.float32], bit_depth: BitDepth) -> Image:
    """(B, C, h, w), 0 to 1 -> (B, h, w, C), rounded half up; NaN becomes 0. Uses `output` up."""
    largest = np.float32(peak(bit_depth))
    output *= largest
    output += np.float32(0.5)
    np.fmax(output, 0, out=output)  # fmax makes a NaN 0, where max would keep it.
    np.minimum(output, largest, out=output)
    return np.ascontiguousarray(output.astype(sample_type(bit_depth)).transpose(0, 2, 3, 1))
