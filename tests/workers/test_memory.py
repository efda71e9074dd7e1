"""The memory of every part is flat with the video's length: some bytes a frame, and nothing else, for four hours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import ClipMaker

_MEGABYTE = 1 << 20
_FRAME_RATE = 10
_LONG_FRAMES, _SHORT_FRAMES = 4 * 3600 * _FRAME_RATE, 60 * _FRAME_RATE
_LARGEST_GROWTH_BYTES = 64 * _MEGABYTE
"""Four hours against a minute: 460 bytes a frame, of which the scores and the frame errors of a plan are 60."""
_PARTS = ("probe", "encode", "plan", "train", "finish", "client")
_RUN_PART = """
import json, resource, sys
from pathlib import Path

import stdo
from tests.workers.pipeline_runs import Job, settings_of
from workers.work_folder import WorkFolder

part, source, work = sys.argv[1], Path(sys.argv[2]), WorkFolder(root=Path(sys.argv[3]))
settings = settings_of(
    {"patches": {"width": 16, "height": 16}, "base_stream": {"crf": 30}},
    {"training": {"steps": 8, "patch_memory_mib": 16}},
)
job = Job(source=source, settings=settings, work=work)
match part:
    case "train":
        job.train(0)
    case "client":
        with stdo.open_bundle(work.bundle) as bundle:
            for _ in stdo.reconstruct(bundle):
                pass
    case _:
        getattr(job, part)()
status = Path("/proc/self/status").read_text()
own = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps({"own": own, "children": children}))
"""


@pytest.mark.slow
def test_four_hours_take_hardly_more_memory_than_a_minute(clips: ClipMaker, tmp_path: Path) -> None:
    peaks = {frames: _peaks(clips, tmp_path / str(frames), frames) for frames in (_SHORT_FRAMES, _LONG_FRAMES)}
    for part in _PARTS:
        short, long = peaks[_SHORT_FRAMES][part], peaks[_LONG_FRAMES][part]
        print(part, {kind: (short[kind] // _MEGABYTE, long[kind] // _MEGABYTE) for kind in short}, flush=True)
    for part in _PARTS:
        for kind in ("own", "children"):
            growth = peaks[_LONG_FRAMES][part][kind] - peaks[_SHORT_FRAMES][part][kind]
            assert growth < _LARGEST_GROWTH_BYTES, part


def _peaks(clips: ClipMaker, work: Path, frames: int) -> dict[str, dict[str, int]]:
    source = clips.make(f"long_{frames}.mp4", size="32x32", rate=str(_FRAME_RATE), frames=frames, picture="testsrc2")
    work.mkdir()
    return {part: _peak_bytes(part, source, work) for part in _PARTS}


def _peak_bytes(part: str, source: Path, work: Path) -> dict[str, int]:
    """The highest resident memory of a process that carries out one part, and of its largest child (FFmpeg)."""
    command = [sys.executable, "-c", _RUN_PART, part, str(source), str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    print(part, {kind: peak // _MEGABYTE for kind, peak in found.items()}, flush=True)
    return found
