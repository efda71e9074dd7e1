"""Memory of probe and encode does not grow with the length of the video: 8 bytes a frame for its time, 8 for scenes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import ClipMaker

_MEGABYTE = 1 << 20
_PARTS = """
import sys
from pathlib import Path
from tests.workers.sources import settings_of, silent
from workers.base_stream.encode import encode_base_stream
from workers.ffmpeg.program import FFmpeg
from workers.source.probe import SourceInfo, SourceLimits, probe_source

part, source, work = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
if part == "probe":
    probe_source(source, limits=SourceLimits(), report=silent, program=FFmpeg()).save(work)
else:
    settings = settings_of(base_stream={"speed": "fast"})
    encode_base_stream(source, SourceInfo.load(work), settings, work, silent, program=FFmpeg())
status = Path("/proc/self/status").read_text()
print(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
def test_four_hours_need_hardly_more_memory_than_a_minute(clips: ClipMaker, tmp_path: Path) -> None:
    peaks: dict[str, dict[int, int]] = {"probe": {}, "encode": {}}
    for frames in (1500, 360_000):
        source = clips.make(f"long_{frames}.mp4", size="32x32", frames=frames, picture="testsrc2")
        work = tmp_path / str(frames)
        work.mkdir()
        for part, found in peaks.items():
            found[frames] = _peak_bytes(part, source, work)
    print({part: {frames: peak // _MEGABYTE for frames, peak in found.items()} for part, found in peaks.items()})
    for found in peaks.values():
        assert found[360_000] - found[1500] < 40 * _MEGABYTE


def _peak_bytes(part: str, source: Path, work: Path) -> int:
    """VmHWM of a process that does one part; FFmpeg runs in a process of its own."""
    command = [sys.executable, "-c", _PARTS, part, str(source), str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) * 1024
