"""Copy a bundle's sound beside restored frames, segment by segment as the frames come."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Self

from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from stdo.bundle.bundle import Bundle
from stdo.bundle.segments import Segment, segment_of_frame
from stdo.decoder.video_reader import open_base_stream


class SoundCopy:
    """Copies packets of sound, a little at a time. As a context manager it closes what it reads."""

    def __init__(self, output: OutputContainer, bundle: Bundle, part: tuple[int, int] | None) -> None:
        """A stream in `output` for the sound of those frames, or of all; nothing where the bundle has no sound."""
        self._output = output
        self._origin = Fraction(0)
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        self._next: Packet[AudioStream] | None = None
        self._source = None
        if bundle.manifest.base_stream.audio_codec is None:
            return
        self._source = open_base_stream(_SegmentsReader(bundle, _segments_of(bundle, part)), name="The base stream")
        if self._source.streams.audio:
            sound = self._source.streams.audio[0]
            self._stream: AudioStream = output.add_stream_from_template(sound)
            self._packets = (packet for packet in self._source.demux(sound) if packet.pts is not None)
            self._next = next(self._packets, None)

    def skip_to(self, time: Fraction) -> None:
        """Leave out what is before `time`, which becomes 0."""
        self._origin = time
        while self._next is not None and _time(self._next) < time:
            self._next = next(self._packets, None)

    def copy_until(self, time: Fraction | None) -> None:
        """Copy the packets that start before `time`, or all that are left."""
        while self._next is not None and (time is None or _time(self._next) < time):
            packet, self._next = self._next, next(self._packets, None)
            assert packet.time_base is not None
            assert packet.pts is not None
            packet.pts -= round(self._origin / packet.time_base)
            packet.dts = packet.pts  # Sound is in order of presentation.
            packet.stream = self._stream
            self._output.mux(packet)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._source is not None:
            self._source.close()


class _SegmentsReader(io.RawIOBase):
    """The header and some segments of a base stream as one stream of bytes; each is fetched when it is reached."""

    def __init__(self, bundle: Bundle, segments: tuple[Segment, ...]) -> None:
        super().__init__()
        self._parts = _parts(bundle, segments)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, from one part; none at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._parts, b""))
        taken = bytes(self._rest[:size] if size >= 0 else self._rest)
        self._rest = self._rest[len(taken) :]
        return taken


def _parts(bundle: Bundle, segments: tuple[Segment, ...]) -> Iterator[bytes]:
    yield bundle.header_bytes()
    for segment in segments:
        yield bundle.segment_bytes(segment)


def _segments_of(bundle: Bundle, part: tuple[int, int] | None) -> tuple[Segment, ...]:
    """Those that hold frames, and the next one: sound is cut at a key frame's time of decoding, a little too early."""
    if part is None:
        return bundle.segments
    first, last = (segment_of_frame(bundle.segments, frame) for frame in (part[0], part[1] - 1))
    return bundle.segments[first : last + 2]


def _time(packet: Packet[AudioStream]) -> Fraction:
    assert packet.pts is not None
    assert packet.time_base is not None
    return packet.pts * packet.time_base
