"""What an encoded base stream says of itself: times and key frames of its packets, and codecs. Nothing is decoded."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from stdo.bundle.codecs import CodecName
from stdo.bundle.h273 import colour_codes
from stdo.bundle.manifest import Colour
from stdo.bundle.mime import audio_codecs_string, codecs_string, mime_type
from workers.errors import FrameMismatchError
from workers.ffmpeg.program import file_url
from workers.source.probe import SourceInfo

PacketTimes = npt.NDArray[np.int64]


def check_packets(path: Path, info: SourceInfo, *, timescale: int, key_frames: Sequence[int]) -> PacketTimes:
    """Compare the frames that a client will see with the source's: as many, each at its time (or the nearest tick), and
    key frames where segments begin and nowhere else.

    Returns:
        (frames,) the time of each frame in ticks of 1 / timescale, ascending.

    Raises:
        FrameMismatchError: they differ.
    """
    times, keys = _read_packets(path, timescale)
    wanted = _wanted_times(info, timescale)
    if len(times) != len(wanted):
        raise FrameMismatchError(
            f"The base stream has {len(times)} frames, and the source {len(wanted)}. Encode the source anew with "
            "another program, then upload it again."
        )
    different = np.flatnonzero(times != wanted)
    if different.size:
        frame = int(different[0])
        raise FrameMismatchError(
            f"Frame {frame} of the base stream is shown at {int(times[frame]) / timescale:.6f} s, but at "
            f"{int(wanted[frame]) / timescale:.6f} s in the source. Encode it anew with regular timestamps, then "
            "upload it again."
        )
    found = np.searchsorted(times, keys)
    if not np.array_equal(found, np.asarray(key_frames)):
        raise FrameMismatchError(
            f"The encoder put key frames at {_some(found)} where segments begin at {_some(key_frames)}. Choose another "
            "base_stream.codec."
        )
    return times


def stream_mime_type(path: Path, codec: CodecName, colour: Colour) -> str:
    """The MIME type with the codecs of picture and sound (RFC 6381)."""
    with av.open(file_url(path)) as container:
        video = codecs_string(
            codec, bytes(container.streams.video[0].codec_context.extradata or b""), colour=colour_codes(colour)
        )
        audio = [
            audio_codecs_string(each.codec_context.codec.canonical_name, bytes(each.codec_context.extradata or b""))
            for each in container.streams.audio
        ]
    return mime_type(video, audio[0] if audio else None)


def _read_packets(path: Path, timescale: int) -> tuple[PacketTimes, PacketTimes]:
    """Times of all frames, and of the key frames alone, ascending."""
    times, keys = array("q"), array("q")
    with av.open(file_url(path)) as container:
        stream = container.streams.video[0]
        if stream.time_base != Fraction(1, timescale):
            raise FrameMismatchError(f"The base stream's clock has {stream.time_base} s a tick, not 1/{timescale} s.")
        for packet in container.demux(stream):
            if packet.pts is None or packet.is_discard:
                continue
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    return np.sort(np.asarray(times, np.int64)), np.sort(np.asarray(keys, np.int64))


def _wanted_times(info: SourceInfo, timescale: int) -> PacketTimes:
    """The source's frame times in ticks of 1 / timescale, rounded where they don't fall on one."""
    ticks = info.facts.tick.fraction * timescale
    if ticks.denominator == 1:
        return info.frame_ticks * ticks.numerator
    return np.fromiter((round(int(tick) * ticks) for tick in info.frame_ticks), np.int64, len(info.frame_ticks))


def _some(frames: Sequence[int] | npt.NDArray[np.int64]) -> str:
    shown = ", ".join(str(int(frame)) for frame in frames[:8])
    return f"{shown}, ..." if len(frames) > 8 else shown
