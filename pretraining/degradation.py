"""From a high-resolution picture to the low-resolution one that a network meets: reduced, and coded as video."""

import io
from collections.abc import Iterable, Sequence

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from PIL import Image

from pretraining.photographs import RgbImage

# Without these two flags, swscale takes a short cut that repeats chroma samples instead of interpolating them.
_CONVERSION = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def reduce_bicubic(picture: RgbImage, *, scale: int) -> RgbImage:
    """The picture at 1/scale, by antialiased bicubic reduction: (h, w, 3) -> (h // scale, w // scale, 3) uint8.

    Rows and columns beyond a multiple of the scale are cut off first, so that pixel centres stay aligned.
    """
    height, width = (size // scale for size in picture.shape[:2])
    cropped = Image.fromarray(picture[: height * scale, : width * scale])
    return np.asarray(cropped.resize((width, height), Image.Resampling.BICUBIC))


def enlarge_bicubic(picture: RgbImage, *, scale: int) -> RgbImage:
    """The picture enlarged by the scale with Pillow's bicubic: the baseline."""
    height, width = picture.shape[:2]
    return np.asarray(Image.fromarray(picture).resize((width * scale, height * scale), Image.Resampling.BICUBIC))


def code_as_video(frames: Sequence[RgbImage], *, crf: int) -> list[RgbImage]:
    """What a player sees of the frames after H.264 (x264, preset medium, 4:2:0, BT.709 limited range) at this CRF.

    Args:
        frames: (H, W, 3) uint8 RGB of one size, H and W even.
    """
    return _decode(_encode(frames, crf=crf))


def _encode(frames: Sequence[RgbImage], *, crf: int) -> bytes:
    buffer = io.BytesIO()
    height, width = frames[0].shape[:2]
    with av.open(buffer, mode="w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": str(crf), "preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.thread_count = 1
        for pixels in frames:
            converted = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format="yuv420p",
                interpolation=_CONVERSION,
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            container.mux(stream.encode(converted))
        container.mux(stream.encode())
    return buffer.getvalue()


def _decode(coded: bytes) -> list[RgbImage]:
    with av.open(io.BytesIO(coded), mode="r") as container:
        return [_to_rgb(frame) for frame in container.decode(video=0)]


def _to_rgb(frame: av.VideoFrame) -> RgbImage:
    converted = frame.reformat(
        format="rgb24",
        interpolation=_CONVERSION,
        src_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    )
    return converted.to_ndarray().astype(np.uint8, copy=False)


def slow_pan(picture: RgbImage, *, height: int, width: int, offsets: Iterable[tuple[int, int]]) -> list[RgbImage]:
    """A clip of windows (height, width, 3) into the picture, one at each (top, left)."""
    return [picture[top : top + height, left : left + width] for top, left in offsets]
