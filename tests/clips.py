"""Small synthetic clips for every test, made by the FFmpeg that the service uses, once a session."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import imageio_ffmpeg

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p")
LOSSLESS = ("-c:v", "ffv1")
"""Keeps any pixel format bit by bit (in Matroska or AVI)."""
STEREO = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000,aformat=channel_layouts=stereo")


def run_ffmpeg(*arguments: str | Path) -> None:
    """Run the ffmpeg of the tests; its complaints are the error."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"


@dataclass(frozen=True)
class ClipMaker:
    """Makes clips in a folder, each only once."""

    folder: Path

    def make(
        self,
        name: str,
        *encoding: str,
        size: str = "96x80",
        frames: int = 12,
        rate: str = "25",
        picture: str = "testsrc2",
        filters: str = "null",
        sound: bool = False,
    ) -> Path:
        """A clip of a test picture (a lavfi source, such as `color=red`), filtered and encoded as told, else H.264."""
        source = f"{picture}{':' if '=' in picture else '='}size={size}:rate={rate}"
        return self._made(
            name,
            *("-f", "lavfi", "-i", source),
            *(STEREO if sound else ()),
            *("-vf", filters),
            *(encoding or H264),
            *("-frames:v", str(frames)),
            "-shortest" if sound else "-an",
        )

    def remake(self, name: str, source: Path, *options: str, before: tuple[str, ...] = ()) -> Path:
        """A copy of a clip, with options for reading (`before`) and writing it; streams are copied unless told else."""
        return self._made(name, *before, "-i", source, "-map", "0", "-c", "copy", *options)

    def _made(self, name: str, *arguments: str | Path) -> Path:
        path = self.folder / hashlib.sha256(repr(arguments).encode()).hexdigest()[:12] / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            run_ffmpeg(*arguments, path)
        return path

    @cached_property
    def plain(self) -> Path:
        """12 frames, 96x80, 25 frames a second, H.264 with B-frames, no sound."""
        return self.make("plain.mp4", "-c:v", "libx264", "-crf", "12", "-pix_fmt", "yuv420p")

    @cached_property
    def with_sound(self) -> Path:
        """As `plain`, with half a second of stereo AAC."""
        return self.make("with_sound.mp4", *H264, "-c:a", "aac", sound=True)
