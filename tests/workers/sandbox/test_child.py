from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.presets import resolve_settings
from stdo.service.resources import Stage
from tests.clips import ClipMaker
from tests.processes import descendants_of, is_alive, wait_until
from tests.workers.encodes import TINY
from workers.sandbox import child
from workers.sandbox.child import ENCODE_MEMORY_BYTES, PROBE_MEMORY_BYTES, ProgressWriter
from workers.sandbox.part_spec import (
    SPEC,
    EncodePart,
    FinishPart,
    PartSpec,
    PlannedTrainings,
    PlanPart,
    ProbePart,
    TrainPart,
)
from workers.source.probe import SourceInfo, SourceLimits


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def write_spec(folder: Path, spec: PartSpec) -> Path:
    path = folder / "spec.json"
    path.write_text(spec.model_dump_json())
    return path


def run(spec_path: Path) -> subprocess.CompletedProcess[str]:
    """The part, to its end. Its stdin stays open meanwhile."""
    lifeline, ours = os.pipe()
    try:
        return subprocess.run(
            [sys.executable, "-m", "workers", "part", str(spec_path)], stdin=lifeline, capture_output=True, text=True
        )
    finally:
        os.close(lifeline)
        os.close(ours)


def probe_part(source: Path, work: Path) -> ProbePart:
    return ProbePart(source=source, work=work, ffmpeg_path=None, limits=SourceLimits(), source_sha256="0" * 64)


def test_a_probe_leaves_what_it_found_and_says_how_far_it_is(tmp_path: Path, work: Path) -> None:
    source = ClipMaker(tmp_path).make("clip.mp4", frames=10)

    ended = run(write_spec(tmp_path, probe_part(source, work)))

    assert ended.returncode == 0, ended.stderr
    last = json.loads(ended.stdout.splitlines()[-1])
    assert last == {"progress": {"stage": "probe", "done": 10, "total": 10, "unit": "frames"}}
    info = SourceInfo.load(work)
    assert (info.source.frame_count, info.source.coded_width, info.source.coded_height) == (10, 96, 80)


def test_what_is_wrong_with_the_video_is_said_in_a_line(tmp_path: Path, work: Path) -> None:
    source = tmp_path / "source"
    source.write_text("no video at all")

    ended = run(write_spec(tmp_path, probe_part(source, work)))

    assert ended.returncode == 3
    (line,) = ended.stdout.splitlines()
    failure = json.loads(line)["failure"]
    assert failure["type"] == "not_a_video"
    assert failure["title"]
    assert failure["detail"]


def test_what_is_wrong_with_the_machine_is_a_traceback(tmp_path: Path) -> None:
    source = ClipMaker(tmp_path).make("clip.mp4", frames=1)

    ended = run(write_spec(tmp_path, probe_part(source, tmp_path / "missing")))

    assert ended.returncode == 1
    assert "FileNotFoundError" in ended.stderr.splitlines()[-1]
    assert all("failure" not in json.loads(line) for line in ended.stdout.splitlines())


def test_a_killed_parent_takes_the_part_and_its_ffmpeg_along(tmp_path: Path, work: Path) -> None:
    source = ClipMaker(tmp_path).make("clip.mp4", frames=500, size="640x360")
    settings = resolve_settings("fast", {"base_stream": {"codec": "av1", "speed": "slow"}})
    assert run(write_spec(tmp_path, probe_part(source, work))).returncode == 0
    spec = EncodePart(source=source, work=work, ffmpeg_path=None, settings=settings)
    script = f"""
        import os, sys
        from threading import Event
        from workers.sandbox.parent import run_part
        from workers.sandbox.stop_signal import StopSignal
        run_part(
            [sys.executable, "-m", "workers", "part", {str(write_spec(tmp_path, spec))!r}],
            environment=dict(os.environ),
            stop=StopSignal(Event()),
            on_report=lambda report: None,
            no_progress_seconds=600,
        )
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    try:
        wait_until(
            lambda: any("base.mp4" in command for command in descendants_of(parent.pid).values()),
            seconds=120,
            what="the encode by ffmpeg",
        )
        family = descendants_of(parent.pid)
    finally:
        parent.kill()
        parent.wait()

    assert len(family) >= 2
    wait_until(lambda: not any(is_alive(pid) for pid in family), seconds=5, what="the end of all")


class TestProgressWriter:
    def lines_of(self, *reports: tuple[Stage, int], pause_seconds: float = 0.0) -> list[tuple[str, int]]:
        """What is said of these reports (stage, done out of 9)."""
        reader, writer = os.pipe()
        with os.fdopen(reader) as said:
            lines = ProgressWriter(writer)
            for stage, done in reports:
                lines.progress(stage, done, 9, "frames")
                time.sleep(pause_seconds)
            os.close(writer)
            reports = [json.loads(line)["progress"] for line in said]
        return [(report["stage"], report["done"]) for report in reports]

    def test_says_the_first_and_the_last_of_each_stage_at_once(self) -> None:
        frames: list[tuple[Stage, int]] = [(stage, done) for stage in ("probe", "score") for done in range(10)]

        assert self.lines_of(*frames) == [("probe", 0), ("probe", 9), ("score", 0), ("score", 9)]

    def test_says_what_comes_between_from_time_to_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(child, "PROGRESS_SECONDS", 0.1)

        said = self.lines_of(*(("score", done) for done in range(9)), pause_seconds=0.03)

        assert 2 <= len(said) <= 4
        assert said[0] == ("score", 0)

    def test_says_the_same_figures_once_and_then_that_it_is_alive(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(child, "PROGRESS_SECONDS", 0.1)
        reader, writer = os.pipe()
        with os.fdopen(reader) as said:
            lines = ProgressWriter(writer)
            for _ in range(8):
                lines.progress("encode", 9, 9, "frames")
                time.sleep(0.03)
            os.close(writer)
            first, *others = [json.loads(line) for line in said]

        assert first["progress"]["done"] == 9
        assert 1 <= len(others) <= 3
        assert all(line == {"alive": True} for line in others)


@pytest.mark.parametrize(("before", "after"), [("0\n", "500"), ("500\n", "500\n"), ("1000\n", "1000\n"), (None, None)])
def test_the_score_of_the_out_of_memory_killer_is_only_ever_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None, after: str | None
) -> None:
    file = tmp_path / "oom_score_adj"
    if before is not None:
        file.write_text(before)
    monkeypatch.setattr(child, "OUT_OF_MEMORY_FILE", file)

    child.raise_out_of_memory_score()

    assert (file.read_text() if file.exists() else None) == after


def test_every_spec_survives_its_file(tmp_path: Path) -> None:
    common = {"source": tmp_path / "source", "work": tmp_path, "ffmpeg_path": None}
    settings = resolve_settings("fast", TINY)
    limits = SourceLimits(max_frames=7)
    specs: list[PartSpec] = [
        ProbePart(**common, limits=limits, source_sha256="0" * 64),
        EncodePart(**common, settings=settings),
        PlanPart(**common, settings=settings, device="auto"),
        TrainPart(**common, settings=settings, device="cuda:1", training_number=1),
        FinishPart(
            **common,
            settings=settings,
            device="cpu",
            bundle_id="1",
            created_at=datetime(2026, 3, 1, 12, 0, 0, 1, UTC),
        ),
    ]

    for spec in specs:
        assert SPEC.validate_json(write_spec(tmp_path, spec).read_bytes()) == spec


def test_what_waits_for_parts_never_loads_torch() -> None:
    script = """
        import sys
        import workers.tasks.beat, workers.tasks.celery, workers.sandbox.child, workers.tasks.run_task
        print([name for name in ("torch", "matplotlib", "onnx") if name in sys.modules])
    """

    answer = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)

    assert answer.stdout == "[]\n"


def test_a_plan_may_have_no_trainings(tmp_path: Path) -> None:
    for count in (0, 3):
        PlannedTrainings(training_count=count).save(tmp_path)
        assert PlannedTrainings.load(tmp_path).training_count == count


@pytest.mark.parametrize(
    ("kind", "bound"), [("probe", PROBE_MEMORY_BYTES), ("encode", ENCODE_MEMORY_BYTES), ("plan", None)]
)
def test_only_parts_without_networks_have_a_bound_of_memory(
    tmp_path: Path, work: Path, kind: str, bound: int | None
) -> None:
    common = {"source": tmp_path / "source", "work": work, "ffmpeg_path": None}
    settings = resolve_settings("fast", TINY)
    specs: dict[str, PartSpec] = {
        "probe": ProbePart(**common, limits=SourceLimits(), source_sha256="0" * 64),
        "encode": EncodePart(**common, settings=settings),
        "plan": PlanPart(**common, settings=settings, device="cpu"),
    }
    script = f"""
        import resource, sys
        from pathlib import Path
        from workers.sandbox import child
        child._run = lambda spec, report: print(resource.getrlimit(resource.RLIMIT_DATA), file=sys.stderr)
        child.carry_out(Path({str(write_spec(tmp_path, specs[kind]))!r}))
    """
    lifeline, ours = os.pipe()
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], stdin=lifeline, capture_output=True, text=True
    )
    os.close(lifeline)
    os.close(ours)

    limit = resource.RLIM_INFINITY if bound is None else bound
    assert ended.stderr.splitlines()[-1] == str((limit, limit))


def test_a_source_that_asks_for_more_memory_than_a_probe_has_is_stopped(tmp_path: Path, work: Path) -> None:
    script = f"""
        from pathlib import Path
        from workers import pipeline
        from workers.sandbox import child
        pipeline.probe = lambda **_: bytearray({PROBE_MEMORY_BYTES})
        child.carry_out(Path({str(write_spec(tmp_path, probe_part(tmp_path, work)))!r}))
    """
    lifeline, ours = os.pipe()
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], stdin=lifeline, capture_output=True, text=True
    )
    os.close(lifeline)
    os.close(ours)

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "MemoryError"
