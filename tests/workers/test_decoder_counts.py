"""How often a job decodes its source and its base stream, counted from outside (docs/ARCHITECTURE.md, the flow)."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import av
import imageio_ffmpeg
import pytest

import stdo
from tests.clips import ClipMaker
from tests.workers.pipeline_runs import Job, settings_of
from workers.ffmpeg.program import FFmpeg
from workers.work_folder import WorkFolder


class WatchedContainer:
    """A container of PyAV that says when it is decoded, and not only taken apart."""

    def __init__(self, container: Any, decoders: Decoders, name: str) -> None:
        self._container, self._decoders, self._name = container, decoders, name

    def decode(self, *streams: Any) -> Iterator[Any]:
        self._decoders.counts[self._name] += 1
        decoded: Iterator[Any] = self._container.decode(*streams)
        return decoded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()


class Decoders:
    """Counts decoders by what they read: `source`, `base` (the whole file), `segment` (one, from memory)."""

    def __init__(self, folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: Counter[str] = Counter()
        self._source = source
        self._log = folder / "ffmpeg-runs"
        self._log.touch()
        self.ffmpeg = FFmpeg(executable=self._logged_program(folder / "ffmpeg"))
        self._open = av.open
        monkeypatch.setattr(av, "open", self._opened)

    def of(self, part: Any) -> dict[str, int]:
        """What one part of the pipeline decodes."""
        self.counts.clear()
        self._log.write_text("")
        part()
        for line in self._log.read_text().splitlines():
            inputs = re.findall(r"-i (\S+)", line)
            assert set(inputs) <= {f"file:{self._source}"}, line
            self.counts["source"] += len(inputs)
        return dict(+self.counts)

    def _opened(self, file: Any, *arguments: Any, **options: Any) -> Any:
        container = self._open(file, *arguments, **options)
        if isinstance(file, io.BytesIO):
            return WatchedContainer(container, self, "segment")
        if str(file) == f"file:{self._source}":
            # The probe takes packets out and decodes each: what counts is that the file is opened.
            self.counts["source"] += 1
            return container
        return WatchedContainer(container, self, "base")

    def _logged_program(self, path: Path) -> Path:
        path.write_text(f'#!/bin/sh\necho "$*" >> "{self._log}"\nexec "{imageio_ffmpeg.get_ffmpeg_exe()}" "$@"\n')
        path.chmod(0o755)
        return path


def test_the_source_is_decoded_once_a_part_and_the_base_stream_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ClipMaker(tmp_path).make("clip.mp4", frames=40)
    decoders = Decoders(tmp_path, source, monkeypatch)
    settings = settings_of(
        {
            "groups": {"count": 4},
            "training": {"steps": 4},
            "base_stream": {"segment_seconds": 0.5},
            "export": {"precision": "fp16"},
        }
    )
    job = Job(source=source, settings=settings, work=WorkFolder(root=tmp_path / "work"), ffmpeg=decoders.ffmpeg)

    assert decoders.of(job.probe) == {"source": 1}
    assert decoders.of(job.encode) == {"source": 1}
    assert decoders.of(job.plan) == {"source": 1, "base": 1}
    # All four networks from one pass.
    assert decoders.of(lambda: job.train(0)) == {"source": 1, "base": 1}
    finished = decoders.of(job.finish)
    with stdo.open_bundle(job.work.bundle) as bundle:
        assert len(bundle.manifest.networks) == 4
        segment_count = len(bundle.segments)
    assert segment_count > 1
    # Each segment once is the whole base stream once.
    assert finished == {"source": 1, "segment": segment_count}
