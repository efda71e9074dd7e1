"""Networks at work: patches in, larger patches out; and the plain filters that they are compared with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image as PillowImage

from stdo.decoder.frames import Image, Plane, YuvFrame
from stdo.errors import NetworkError

Channels = Literal["rgb", "luma"]
Filter = Literal["bicubic", "lanczos"]
_PILLOW_FILTERS = {"bicubic": PillowImage.Resampling.BICUBIC, "lanczos": PillowImage.Resampling.LANCZOS}
_CHANNEL_COUNTS: dict[Channels, int] = {"rgb": 3, "luma": 1}


class Upscaler(Protocol):
    """A network that restores patches. Other run times than ONNX Runtime plug in here."""

    @property
    def scale(self) -> int: ...

    @property
    def channels(self) -> Channels: ...

    def __call__(self, patches: Image) -> Image:
        """(B, H, W, C) uint8 -> (B, scale * H, scale * W, C) uint8; C is 3 (R'G'B') or 1 (luma)."""
        ...


class OnnxUpscaler:
    """Runs an ONNX network (docs/FORMAT.md, section 7) with ONNX Runtime on the CPU."""

    def __init__(self, model: bytes | Path, *, scale: int, channels: Channels, threads: int = 0) -> None:
        """Load a network.

        Args:
            model: the ONNX file, or its bytes.
            threads: processor threads of one run; 0 is one for each core.

        Raises:
            NetworkError: it can't be loaded, or its input and output are not as the format demands.
        """
        self.scale = scale
        self.channels: Channels = channels
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # What goes wrong is in the exceptions.
        # A network from anywhere may name files to take its weights from. There are none in what is no folder.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        # int8 weights are then decoded once, on loading, so that layers fuse as with float ones: a third faster to run.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            data = model.read_bytes() if isinstance(model, Path) else model
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises an unrelated type for each kind of fault.
            raise NetworkError(f"ONNX Runtime can't load the network: {error}") from error
        _check_border(self._session)

    def __call__(self, patches: Image) -> Image:
        """See `Upscaler`.

        Raises:
            NetworkError: the network can't run on such patches, or answers with another size.
        """
        batch, height, width, channel_count = patches.shape
        if channel_count != _CHANNEL_COUNTS[self.channels]:
            raise ValueError(
                f"a {self.channels} network reads {_CHANNEL_COUNTS[self.channels]} channels: {patches.shape = }"
            )
        samples = patches.transpose(0, 3, 1, 2).astype(np.float32)
        samples /= np.float32(255)
        try:
            (output,) = self._session.run(["hr"], {"lr": samples})
        except Exception as error:
            raise NetworkError(f"The network can't restore patches of {width}x{height} pixels: {error}") from error
        expected = (batch, channel_count, height * self.scale, width * self.scale)
        if output.shape != expected:
            raise NetworkError(f"The network answers with shape {output.shape} where the format demands {expected}.")
        return _to_bytes(output)


def resize_frame(frame: YuvFrame, *, scale: int, filter: Filter) -> YuvFrame:
    """Enlarge each plane of a frame by `scale` with a plain filter, as a player would.

    "bicubic" is the Keys cubic with a = -1/2, "lanczos" has three lobes (docs/FORMAT.md, section 6).
    """
    return YuvFrame(
        y=resize_plane(frame.y, scale=scale, filter=filter),
        u=resize_plane(frame.u, scale=scale, filter=filter),
        v=resize_plane(frame.v, scale=scale, filter=filter),
        time=frame.time,
    )


def resize_plane(plane: Plane, *, scale: int, filter: Filter) -> Plane:
    """(H, W) uint8 -> (scale * H, scale * W) uint8."""
    height, width = plane.shape
    enlarged = PillowImage.fromarray(plane).resize((scale * width, scale * height), _PILLOW_FILTERS[filter])
    return np.asarray(enlarged)


def _check_border(session: onnxruntime.InferenceSession) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    border = [(value.name, value.type) for value in (*inputs, *outputs)]
    if border != [("lr", "tensor(float)"), ("hr", "tensor(float)")]:
        raise NetworkError(f"A network reads one float tensor `lr` and writes one, `hr`; this one has {border}.")


def _to_bytes(output: npt.NDArray[np.float32]) -> Image:
    """(B, C, h, w), 0 to 1 -> (B, h, w, C) uint8, rounded half up; NaN becomes 0. Uses `output` up."""
    output *= np.float32(255)
    output += np.float32(0.5)
    np.fmax(output, 0, out=output)  # fmax makes a NaN 0, where max would keep it.
    np.minimum(output, 255, out=output)
    return np.ascontiguousarray(output.astype(np.uint8).transpose(0, 2, 3, 1))
