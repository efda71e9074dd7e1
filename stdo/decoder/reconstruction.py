"""The decoder: a bundle in, high-resolution frames out (docs/FORMAT.md, section 9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from stdo.bundle.bundle import Bundle
from stdo.bundle.geometry import assemble_patches, extract_patches
from stdo.bundle.manifest import PatchGrid, Picture
from stdo.decoder.frames import Image, YuvFrame, decode_video, yuv_to_rgb
from stdo.decoder.restored_frame import RestoredFrame
from stdo.decoder.upscale import OnnxUpscaler, Upscaler, resize_plane
from stdo.errors import DamagedBundleError, FrameRangeError, VideoError

__all__ = ["FrameRestorer", "RestoredFrame", "load_networks", "reconstruct"]

# Low-resolution pixels, halo included, that a network sees at once. Bounds the memory of large frames: a network with
# 128 channels holds 16 MiB in each of its layers' outputs.
_BATCH_PIXELS = 32_768


class FrameRestorer:
    """Restores single frames with given networks, whose numbers are their places in `upscalers`."""

    def __init__(self, picture: Picture, grid: PatchGrid, upscalers: Sequence[Upscaler]) -> None:
        channels = {upscaler.channels for upscaler in upscalers}
        if len(channels) != 1 or any(upscaler.scale != picture.scale for upscaler in upscalers):
            raise ValueError("the networks of one picture share its scale, and all read R'G'B' or all luma")
        self._picture = picture
        self._grid = grid
        self._upscalers = tuple(upscalers)
        self._channels = channels.pop()

    def restore(self, lr: YuvFrame, network_of_patch: npt.NDArray[np.uint8]) -> RestoredFrame:
        """Restore one frame.

        Args:
            lr: a decoded low-resolution frame.
            network_of_patch: (rows * columns,) uint8, patches in raster order.

        Raises:
            VideoError: the frame hasn't the low-resolution size of the picture.
            NetworkError: a network fails.
        """
        picture = self._picture
        if lr.y.shape != (picture.base_height, picture.base_width):
            raise VideoError(
                f"A low-resolution frame is {lr.y.shape[1]}x{lr.y.shape[0]} where the manifest says "
                f"{picture.base_width}x{picture.base_height}."
            )
        if self._channels == "rgb":
            rgb = self._upscale(yuv_to_rgb(lr, picture.colour), network_of_patch)
            return RestoredFrame(time=lr.time, colour=picture.colour, restored_rgb=rgb)
        luma = self._upscale(lr.y[..., np.newaxis], network_of_patch)[..., 0]
        chroma_height, chroma_width = -(-picture.display_height // 2), -(-picture.display_width // 2)
        yuv = YuvFrame(
            y=luma,
            u=resize_plane(lr.u, scale=picture.scale, filter="bicubic")[:chroma_height, :chroma_width],
            v=resize_plane(lr.v, scale=picture.scale, filter="bicubic")[:chroma_height, :chroma_width],
            time=lr.time,
        )
        return RestoredFrame(time=lr.time, colour=picture.colour, restored_yuv=yuv)

    def _upscale(self, image: Image, network_of_patch: npt.NDArray[np.uint8]) -> Image:
        """(H, W, C) -> (display_height, display_width, C)."""
        grid, scale = self._grid, self._picture.scale
        patches = extract_patches(image, grid)
        restored = np.empty(
            (len(patches), scale * grid.patch_height, scale * grid.patch_width, image.shape[2]), np.uint8
        )
        overhang = scale * grid.halo
        batch_size = max(1, _BATCH_PIXELS // (patches.shape[1] * patches.shape[2]))
        for number in np.unique(network_of_patch):
            members = np.flatnonzero(network_of_patch == number)
            for start in range(0, len(members), batch_size):
                batch = members[start : start + batch_size]
                output = self._upscalers[number](patches[batch])
                restored[batch] = output[
                    :, overhang : output.shape[1] - overhang, overhang : output.shape[2] - overhang
                ]
        return assemble_patches(
            restored, grid, scale=scale, height=self._picture.display_height, width=self._picture.display_width
        )


def load_networks(bundle: Bundle, *, threads: int = 0) -> list[OnnxUpscaler]:
    """The networks of a bundle, verified and ready to run.

    Args:
        threads: processor threads of one network; 0 is one for each core.
    """
    return [
        OnnxUpscaler(
            bundle.read(network), scale=bundle.manifest.picture.scale, channels=network.channels, threads=threads
        )
        for network in bundle.manifest.networks
    ]


def reconstruct(
    bundle: Bundle,
    *,
    frames: range | None = None,
    threads: int = 0,
    upscalers: Sequence[Upscaler] | None = None,
) -> Iterator[RestoredFrame]:
    """Restore a bundle's frames in order, each with its own time.

    Args:
        frames: consecutive frame numbers, counted from 0; all by default. Only what they need is fetched and decoded.
        threads: processor threads of the networks; 0 is one for each core.
        upscalers: run these in place of the bundle's own networks, such as others than ONNX Runtime's.

    Raises:
        FrameRangeError: the frames are not in the video, or not consecutive.
        StdoError: the bundle can't be restored; see its subclasses.
    """
    picture = bundle.manifest.picture
    wanted = range(picture.frame_count) if frames is None else frames
    if wanted.step != 1 or wanted.start < 0 or wanted.stop > picture.frame_count or not wanted:
        raise FrameRangeError(
            f"Frames {wanted.start}:{wanted.stop} are not in this video; it has frames 0:{picture.frame_count}."
        )
    if upscalers is not None and len(upscalers) != len(bundle.manifest.networks):
        raise ValueError(f"one upscaler for each network: {len(upscalers) = }, {len(bundle.manifest.networks) = }")
    return _restored_frames(bundle, wanted, load_networks(bundle, threads=threads) if upscalers is None else upscalers)


def _restored_frames(bundle: Bundle, wanted: range, upscalers: Sequence[Upscaler]) -> Iterator[RestoredFrame]:
    manifest = bundle.manifest
    restorer = FrameRestorer(manifest.picture, manifest.patch_grid, upscalers)
    lr_frames = decode_video(bundle.path(manifest.base_stream), first_frame=wanted.start)
    for network_of_patch in _patch_index_rows(bundle, wanted):
        lr = next(lr_frames, None)
        if lr is None:
            raise DamagedBundleError(
                f"The low-resolution stream ends before frame {wanted.stop}; the manifest says "
                f"{manifest.picture.frame_count} frames."
            )
        yield restorer.restore(lr, network_of_patch)
    if wanted.stop == manifest.picture.frame_count and next(lr_frames, None) is not None:
        raise DamagedBundleError(
            f"The low-resolution stream has more frames than the {manifest.picture.frame_count} of the manifest."
        )


def _patch_index_rows(bundle: Bundle, wanted: range) -> Iterator[npt.NDArray[np.uint8]]:
    """One row of the patch index for each frame; one segment is held at a time."""
    for segment in bundle.manifest.patch_index.segments:
        end = segment.first_frame + segment.frame_count
        if end <= wanted.start or segment.first_frame >= wanted.stop:
            continue
        index = bundle.network_numbers(segment)
        first = max(wanted.start, segment.first_frame) - segment.first_frame
        yield from index[first : min(wanted.stop, end) - segment.first_frame]
