"""A deep look into a bundle: do its networks open and its frames decode, and are they what manifest and table say?

`Bundle.verify` compares hashes: a bundle that was made wrong passes it. This decodes everything.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

from stdo.bundle.bundle import Bundle
from stdo.bundle.codecs import CODECS, CodecName
from stdo.bundle.geometry import Image
from stdo.bundle.h273 import ColourCodes
from stdo.bundle.manifest import Manifest
from stdo.bundle.mime import audio_codecs_string, codecs_string, mime_type
from stdo.bundle.segments import Segment
from stdo.decoder.reconstruction import load_network
from stdo.decoder.video_reader import open_base_stream
from stdo.errors import StdoError
from stdo.networks.codings import RunOptions
from stdo.networks.upscale import CHANNEL_COUNTS

_PIXEL_FORMATS = {8: ("yuv420p", "yuvj420p"), 10: ("yuv420p10le",)}
_UPRIGHT = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], np.int32).tobytes()
"""The display matrix that changes nothing (ISO/IEC 14496-12, 8.3.2)."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that isn't as the bundle says."""

    part: str
    """Where, such as `network 3` or `segment 12`."""
    problem: str


def inspect_bundle(bundle: Bundle, on_frames: Callable[[int], None] = lambda _: None) -> Iterator[Finding]:
    """Open every network and decode every frame of a bundle whose files are whole. One segment is held at a time.

    Args:
        on_frames: called with the number of frames decoded so far.
    """
    yield from _inspected_networks(bundle)
    try:
        yield from _inspected_base_stream(bundle, on_frames)
    except StdoError as error:
        yield Finding(part="base stream", problem=str(error))


def _inspected_networks(bundle: Bundle) -> Iterator[Finding]:
    picture, base_bit_depth = bundle.manifest.picture, bundle.layout.base_bit_depth
    for number in range(len(bundle.manifest.networks)):
        try:
            upscaler = load_network(bundle, number, RunOptions(threads=1))
            upscaler(_grey_patch(bundle, number), base_bit_depth=base_bit_depth, bit_depth=picture.bit_depth)
        except StdoError as error:
            yield Finding(part=f"network {number}", problem=str(error))


def _grey_patch(bundle: Bundle, number: int) -> Image:
    """What a network sees at once, (1, H, W, C)."""
    grid, channels = bundle.layout.grid, bundle.manifest.networks[number].channels
    assert grid is not None
    height, width = grid.patch_height + 2 * grid.halo, grid.patch_width + 2 * grid.halo
    if channels == "yuv":
        height, width = height // 2, width // 2
    kind = np.uint8 if bundle.layout.base_bit_depth == 8 else np.uint16
    return np.full((1, height, width, CHANNEL_COUNTS[channels]), 128, kind)


def _inspected_base_stream(bundle: Bundle, on_frames: Callable[[int], None]) -> Iterator[Finding]:
    look, header = _StreamLook(bundle.manifest), bundle.header_bytes()
    for number, segment in enumerate(bundle.segments):
        frames = bundle.segment_frames(segment)
        for problem in look.problems(header + bundle.segment_bytes(segment), segment, len(frames)):
            yield Finding(part=f"segment {number}", problem=problem)
        on_frames(frames.stop)
    if bundle.manifest.base_stream.audio_codec is not None and not look.has_sound:
        yield Finding(part="base stream", problem="The sound has no samples.")


class _StreamLook:
    """Looks at the segments of a base stream one after another. What is wrong with the whole stream is said once."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._said: set[str] = set()
        self._last_pts: int | None = None
        self._first_pts: int | None = None
        self.has_sound = False

    def problems(self, file: bytes, segment: Segment, frame_count: int) -> Iterator[str]:
        """What is wrong with a segment, given as header and segment together."""
        try:
            with open_base_stream(io.BytesIO(file), name="It") as container:
                yield from self._once(self._of_streams(container))
                yield from self._of_content(container, segment, frame_count)
        except av.FFmpegError as error:
            yield f"It can't be decoded: {error.strerror}."
        except StdoError as error:
            yield str(error)

    def _once(self, problems: Iterable[str]) -> Iterator[str]:
        """Those that no earlier segment or frame had."""
        for problem in problems:
            if problem not in self._said:
                self._said.add(problem)
                yield problem

    def _of_streams(self, container: InputContainer) -> Iterator[str]:
        stream, says = container.streams.video[0], self._manifest.base_stream
        codec = stream.codec_context.codec.name
        if codec not in CODECS[says.codec].decoders:
            yield f"The codec is {codec}; the manifest says {says.codec}."
            return
        if stream.time_base != says.time_base.fraction:
            yield f"The time base is {stream.time_base}; the manifest says {says.time_base.fraction}."
        sound = next(iter(container.streams.audio), None)
        sound_codec = None if sound is None else sound.codec_context.codec.canonical_name
        if sound_codec != says.audio_codec:
            yield f"The sound is {sound_codec or 'missing'}; the manifest says {says.audio_codec or 'none'}."
        if len(container.streams) > 1 + (sound is not None):
            yield "There are more tracks than one of picture and one of sound."
        if (mime := _mime_type(container, says.codec)) not in (None, says.mime_type):
            yield f"The MIME type is {mime}; the manifest says {says.mime_type}."

    def _of_content(self, container: InputContainer, segment: Segment, frame_count: int) -> Iterator[str]:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        times: list[int] = []
        keys: list[bool] = []
        damaged = False
        for packet in container.demux():
            if packet.stream is not stream:
                self.has_sound = self.has_sound or packet.size > 0
                continue
            if packet.pts is not None:
                keys.append(packet.is_keyframe)
            for frame in stream.decode(packet):
                times.append(-1 if frame.pts is None else frame.pts)
                damaged = damaged or frame.is_corrupt
                yield from self._once(self._of_frame(frame))
        if damaged:
            yield "Some of its frames are damaged, the decoder says."
        if len(times) != frame_count:
            yield f"It has {len(times)} frames; the segment table says {frame_count}."
        # In order of decoding: VVC's first frame to be decoded may be shown after others.
        if places := [place for place, is_key in enumerate(keys) if is_key != (place == 0)]:
            yield f"A segment begins with a key frame and has no other; it isn't so at its frames {places}."
        yield from self._of_times(times, segment)

    def _of_frame(self, frame: VideoFrame) -> Iterator[str]:
        picture, bit_depth = self._manifest.picture, self._manifest.base_stream.bit_depth
        if frame.format.name not in _PIXEL_FORMATS[bit_depth]:
            yield f"Frames are {frame.format.name}; the manifest says {bit_depth} bits, 4:2:0."
        if (frame.width, frame.height) != (picture.base_width, picture.base_height):
            says = f"{picture.base_width}x{picture.base_height}"
            yield f"Frames have {frame.width}x{frame.height} pixels; the manifest says {says}."
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if isinstance(matrix, SideData) and bytes(matrix) != _UPRIGHT:
            yield f"A display matrix asks players to turn or flip the picture (by {frame.rotation} degrees)."

    def _of_times(self, times: list[int], segment: Segment) -> Iterator[str]:
        if not times:
            return
        if times[0] != segment.time_ticks:
            yield f"Its first frame is shown at {times[0]}; the segment table says {segment.time_ticks}."
        before = [] if self._last_pts is None else [self._last_pts]
        if any(later <= earlier for earlier, later in pairwise([*before, *times])):
            yield "Its frames are not each shown after the one before."
        self._first_pts = times[0] if self._first_pts is None else self._first_pts
        self._last_pts = times[-1]
        seconds = float((times[-1] - self._first_pts) * self._manifest.base_stream.time_base.fraction)
        if seconds >= (says := self._manifest.picture.duration_seconds):
            yield f"Its last frame is shown {seconds:.6f} seconds after the video's first; the video ends at {says}."


def _mime_type(container: InputContainer, codec: CodecName) -> str | None:
    """What the tracks' own records say; None where they say nothing."""
    video, sound = container.streams.video[0].codec_context, next(iter(container.streams.audio), None)
    if video.extradata is None:
        return None
    colour = ColourCodes(
        primaries=int(video.color_primaries),
        transfer=int(video.color_trc),
        matrix=int(video.colorspace),
        is_full_range=int(video.color_range) == 2,
    )
    return mime_type(
        codecs_string(codec, video.extradata, colour=colour),
        None if sound is None else _sound_codecs_string(sound),
    )


def _sound_codecs_string(sound: AudioStream) -> str:
    # The decoder of a codec may have another name: `mp3float` decodes `mp3`.
    return audio_codecs_string(sound.codec_context.codec.canonical_name, sound.codec_context.extradata or b"")
