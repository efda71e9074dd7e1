"""The only module that starts ffmpeg.

Its input is untrusted. So ffmpeg runs in a child process with resource limits and an empty environment, is given a
local file under a name that the server chose, and may use no other protocol, container or decoder than those listed
here. ffmpeg-python builds the arguments; nothing passes through a shell.
"""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg
from pydantic import BaseModel, ConfigDict

from workers.errors import FFmpegFailedError, FFmpegTimedOutError
from workers.ffmpeg.child_process import ChildLimits, ChildTimedOutError, LimitedProcess

CONTAINERS = ("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "mpegts", "mpeg", "avi")
"""Demuxers that may open an input. None of them opens a second file (HLS, DASH and concat do)."""

VIDEO_DECODERS = (
    "h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "h263", "msmpeg4",
    "mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "qtrle", "png", "dvvideo",
)  # fmt: skip
AUDIO_DECODERS = (
    "aac", "aac_latm", "mp3float", "mp3", "mp2float", "mp2", "ac3", "eac3", "opus", "libopus", "vorbis", "flac",
    "alac", "amrnb", "amrwb", "adpcm_ima_qt", "adpcm_ms", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be",
    "pcm_s32le", "pcm_s32be", "pcm_f32le", "pcm_u8", "pcm_s8", "pcm_alaw", "pcm_mulaw",
)  # fmt: skip

_ENVIRONMENT = {"SVT_LOG": "1"}
"""SVT-AV1 then speaks of errors alone."""
_MOST_LAST_WORDS = 4
"""Lines. What follows the first few are the echoes of an error from thread to thread."""


class FFmpegKilledError(RuntimeError):
    """Somebody else killed ffmpeg (most likely the kernel, short of memory): no fault of the video."""


class FFmpegMissingError(RuntimeError):
    """There is no ffmpeg program where the settings say."""


class VideoFilter(BaseModel):
    """One of FFmpeg's video filters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, str]


def apply_filters(video: Any, filters: Iterable[VideoFilter]) -> Any:
    """An ffmpeg-python stream with filters put behind it."""
    for each in filters:
        video = video.filter(each.name, **each.options)
    return video


def demuxer_options() -> dict[str, str]:
    """What FFmpeg's libraries may open: options of an input, the same for the command line and for PyAV."""
    return {
        "protocol_whitelist": "file,pipe",
        "format_whitelist": ",".join(CONTAINERS),
        "codec_whitelist": ",".join((*VIDEO_DECODERS, *AUDIO_DECODERS)),
    }


def decoder_options(*, width: int, height: int) -> dict[str, str]:
    """What a decoder may do that was promised frames of this size: no larger ones may come up."""
    return {
        "codec_whitelist": ",".join(VIDEO_DECODERS),
        # Decoders ask for a margin around the picture, of up to 200 rows (MPEG-4), and for whole blocks.
        "max_pixels": str((width + 256) * (height + 256)),
    }


def file_url(path: Path) -> str:
    """A local file, so that no name is ever read as an option or as another protocol."""
    return f"file:{path.absolute()}"


@dataclass(frozen=True, kw_only=True)
class FFmpeg:
    """The ffmpeg program, and what it may use."""

    executable: Path = field(default_factory=lambda: Path(imageio_ffmpeg.get_ffmpeg_exe()))
    """The one that imageio-ffmpeg carries, unless the settings name another."""
    limits: ChildLimits = field(default_factory=ChildLimits)

    def version(self) -> str:
        """Such as `9.0.2`, as the program itself says it."""
        first_line = self._answer("-version").splitlines()[0]
        return first_line.removeprefix("ffmpeg version ").split()[0]

    def has_filter(self, name: str) -> bool:
        """Whether the program was built with the filter `name`."""
        return any(line.split()[1:2] == [name] for line in self._answer("-filters").splitlines())

    def run(self, output: Any, report: Callable[[int], None]) -> None:
        """Run an ffmpeg-python output to its end.

        Args:
            output: what `ffmpeg.output` returned.
            report: called with the number of frames written so far.

        Raises:
            FFmpegFailedError, FFmpegTimedOutError: with ffmpeg's last words.
            FFmpegKilledError, FFmpegMissingError, OSError: trouble of the machine.
        """
        with self._started(output.global_args("-progress", "pipe:1", "-stats_period", "0.5")) as child:
            frames_done = 0
            for line in child.lines():
                key, _, value = line.partition("=")
                if key == "frame" and int(value) > frames_done:
                    frames_done = int(value)
                    child.made_progress()
                    report(frames_done)

    def read_blocks(self, output: Any, block_bytes: int) -> Iterator[bytearray]:
        """Run an ffmpeg-python output that writes to `pipe:`, and yield what it writes in blocks of `block_bytes`.

        Leaving the iteration early kills ffmpeg.

        Raises:
            FFmpegFailedError: also where the last block is cut short.
            FFmpegTimedOutError, FFmpegKilledError, FFmpegMissingError, OSError: as `run`.
        """
        with self._started(output) as child:
            while len(block := _read_block(child, block_bytes)) == block_bytes:
                child.made_progress()
                yield block
        # Judged after the exit status, which tells whether somebody killed ffmpeg.
        if block:
            raise FFmpegFailedError(f"FFmpeg stopped in the middle of a frame. {_last_words(child)}")

    @contextmanager
    def _started(self, output: Any) -> Iterator[LimitedProcess]:
        """A running ffmpeg, whose end is judged once the block is through."""
        command = [self._program(), "-nostdin", "-hide_banner", "-loglevel", "error"]
        with LimitedProcess(ffmpeg.compile(output, cmd=command), self.limits, _ENVIRONMENT) as child:
            try:
                yield child
                status = child.finish()
            except ChildTimedOutError as error:
                raise FFmpegTimedOutError(f"FFmpeg was stopped: {error}. Try a shorter or smaller video.") from error
            if status != 0:
                raise _failure(status, child)

    def _answer(self, question: str) -> str:
        with LimitedProcess([self._program(), "-hide_banner", question], self.limits, _ENVIRONMENT) as child:
            return "\n".join(child.lines())

    def _program(self) -> str:
        if not os.access(self.executable, os.X_OK):
            raise FFmpegMissingError(
                f"{self.executable} is no program. Correct the setting ffmpeg_path, or leave it out."
            )
        return str(self.executable)


def _read_block(child: LimitedProcess, block_bytes: int) -> bytearray:
    """The next block; at the end of the output what is left of it, or nothing."""
    block = bytearray(block_bytes)
    rest = memoryview(block)
    while rest and (count := child.read_into(rest)):
        rest = rest[count:]
    return block[: block_bytes - len(rest)] if rest else block


def _failure(status: int, child: LimitedProcess) -> Exception:
    """The error that fits an exit status (negative for a signal)."""
    if "No space left on device" in child.stderr_tail:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if status == -signal.SIGKILL:
        return FFmpegKilledError("ffmpeg was killed from outside, perhaps since the machine is short of memory")
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"failed with status {status}"
    return FFmpegFailedError(f"FFmpeg {how}. {_last_words(child)}")


def _last_words(child: LimitedProcess) -> str:
    """What stderr says, each thing once, without the folders and addresses of this machine."""
    lines = [
        re.sub(r"\[([^\]]*) @ 0x[0-9a-f]+\] ?|(?:file:)?/\S*/", "", line) for line in child.stderr_tail.splitlines()
    ]
    return " ".join(list(dict.fromkeys(lines))[:_MOST_LAST_WORDS]) or "It gave no reason."
