"""The clock of a base stream: the unit in which its frames' times are written."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np
import numpy.typing as npt

from stdo.bundle.codecs import CODECS, CodecName
from workers.errors import IrregularTimesError
from workers.source.probe import SourceInfo

PacketTimes = npt.NDArray[np.int64]
"""(frames,) ticks, ascending"""

_FINEST_TIMESCALE = 1_000_000
_COARSEST_TIMESCALE = 1_000


@dataclass(frozen=True, kw_only=True)
class StreamClock:
    """How the frames of a base stream are timed."""

    timescale: int
    """Ticks a second of the video track."""
    encoder_tick: Fraction
    """Seconds a tick of what the encoder is given: times are rounded to it."""

    def frame_times(self, info: SourceInfo) -> PacketTimes:
        """The source's frame times in ticks of the track, rounded to the encoder's ticks."""
        ratio = info.facts.tick.fraction / self.encoder_tick
        factor = int(self.encoder_tick * self.timescale)
        if ratio.denominator == 1:
            return info.frame_ticks * (ratio.numerator * factor)
        ticks = (_rounded(int(tick) * ratio) * factor for tick in info.frame_ticks)
        return np.fromiter(ticks, np.int64, count=len(info.frame_ticks))


def stream_clock(info: SourceInfo, codec: CodecName) -> StreamClock:
    """The source's own clock where an MP4 can have it; for encoders of regular streams, one that counts frames.

    Raises:
        IrregularTimesError: such an encoder can't have this video.
    """
    if CODECS[codec].regular_only:
        return _frame_clock(info, codec)
    ticks = info.facts.tick.denominator
    timescale = _FINEST_TIMESCALE if ticks > _FINEST_TIMESCALE else ticks * ceil(_COARSEST_TIMESCALE / ticks)
    return StreamClock(timescale=timescale, encoder_tick=Fraction(1, timescale))


def _frame_clock(info: SourceInfo, codec: CodecName) -> StreamClock:
    if info.source.variable_frame_rate:
        raise IrregularTimesError(
            f"The video's frame rate varies, and the encoder of {CODECS[codec].title} takes a constant one alone. "
            "Choose base_stream.codec h264, hevc or av1."
        )
    rate = info.source.average_frame_rate.fraction
    return StreamClock(timescale=rate.numerator * ceil(_COARSEST_TIMESCALE / rate.numerator), encoder_tick=1 / rate)


def _rounded(value: Fraction) -> int:
    """To the nearest whole number, a half away from zero: as FFmpeg rescales timestamps."""
    return int(value + Fraction(1, 2)) if value >= 0 else -int(-value + Fraction(1, 2))
