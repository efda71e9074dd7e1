"""The whole demo on a tiny clip, with next to no training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import pytest

from tests.clips import ClipMaker


def _run_demo(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.slow
def test_a_video_goes_there_and_back(tmp_path: Path) -> None:
    clip = ClipMaker(tmp_path).with_sound
    output = tmp_path / "output"
    options = ("--scale", 3, "--method", "jstdo", "--set", "training.steps=6", "--set", "patches.width=16")
    result = _run_demo("--video", clip, "--output", output, *options)
    assert result.returncode == 0, result.stderr
    report = json.loads((output / "report.json").read_text())
    assert (report["settings"]["scale"], report["settings"]["method"]) == (3, "jstdo")
    assert {"encode", "score", "group", "train", "export", "measure", "publish", "total"} <= set(report["seconds"])
    assert report["check"]["psnr_y_measured"] == pytest.approx(report["quality"]["restored"]["psnr_y"], abs=0.01)
    for words in ("Train the networks", "6/6 steps", "Measured again", "patch index", "restored"):
        assert words in result.stdout, words
    with av.open(str(output / "restored.mp4")) as restored:
        assert len(restored.streams.audio) == 1
        assert sum(1 for _ in restored.decode(video=0)) == 12
    for name in ("comparison.png", "heatmap.png", "bundle/manifest.json"):
        assert (output / name).stat().st_size > 0


def test_a_job_that_fails_is_told(tmp_path: Path) -> None:
    no_video = tmp_path / "text.mp4"
    no_video.write_text("This is not a video." * 100)
    left_by_a_killed_run = tmp_path / "output" / ".service-killed"
    left_by_a_killed_run.mkdir(parents=True)
    result = _run_demo("--video", no_video, "--output", tmp_path / "output")
    assert result.returncode == 1
    assert "The job failed." in result.stderr
    assert "Upload" in result.stderr, "what to do about it"
    assert "Traceback" not in result.stderr
    assert not left_by_a_killed_run.exists()
