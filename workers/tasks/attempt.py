"""One attempt at a part: its files, and the child process that does the work."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from core.database import Database
from core.encoding_settings import EncodingSettings
from core.errors import ObjectNotFoundError
from core.jobs.claims import Claim
from core.jobs.part_kinds import PART_KINDS, files_of, outputs
from core.settings import Settings
from core.storage.keys import source_key
from core.storage.object_store import ObjectStore
from workers.sandbox.environment import part_environment
from workers.sandbox.parent import run_part
from workers.sandbox.part_spec import PartSpec
from workers.sandbox.stop_signal import StopSignal
from workers.tasks.lease_keeper import LeaseKeeper


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What all tasks of this process share."""

    settings: Settings
    database: Database
    store: ObjectStore
    shutdown: Event
    """Set when this process has to end: whatever runs is stopped and given back."""

    @property
    def tasks_folder(self) -> Path:
        """Where tasks have their folders."""
        return self.settings.scratch_dir / "tasks"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A part that this worker holds, with a folder of its own."""

    worker: Worker
    claim: Claim
    folder: Path
    stop: StopSignal
    keeper: LeaseKeeper

    @property
    def job_id(self) -> str:
        """The job of a part that has one."""
        assert self.claim.job_id is not None
        return self.claim.job_id

    @property
    def encoding(self) -> EncodingSettings:
        """The encoding settings of a part that has a job."""
        assert self.claim.settings is not None
        return self.claim.settings

    @property
    def source(self) -> Path:
        """Where the uploaded file lies, once fetched."""
        return self.folder / "source"

    @property
    def work(self) -> Path:
        """Where the part finds its inputs besides the source, and leaves its outputs."""
        return _made(self.folder / "work")

    @property
    def device(self) -> str:
        """Where networks run: a worker of the queue cpu leaves the machine's GPU to others."""
        return self.worker.settings.device if self.claim.queue == "gpu" else "cpu"

    def fetch(self) -> None:
        """What the part needs, and nothing else: the uploaded file, and what parts before it have made."""
        if PART_KINDS[self.claim.kind].needs_source:
            self._fetch(source_key(self.claim.video_id), self.source)
        for each in self.claim.inputs:
            for name in files_of(each.name):
                self._fetch(each.prefix + name, self.work / name)

    def fetch_checkpoint(self, key: str, path: Path) -> None:
        """An earlier attempt's checkpoint, if one was kept."""
        try:
            self._fetch(key, path)
        except ObjectNotFoundError:
            return

    def run(self, spec: PartSpec) -> None:
        """Run the part in a child process. Raises as `workers.sandbox.parent.run_part` does."""
        spec_path = self.folder / "spec.json"
        spec_path.write_text(spec.model_dump_json())
        settings = self.worker.settings
        run_part(
            [sys.executable, "-m", "workers", "part", str(spec_path)],
            environment=part_environment(
                os.environ,
                temporary=_made(self.folder / "temporary"),
                compiled=settings.compiled_dir,
                threads=settings.threads,
            ),
            stop=self.stop,
            on_report=self.keeper.report,
            no_progress_seconds=settings.no_progress_seconds,
        )

    def store_outputs(self) -> None:
        """Keep what the part makes for those that need it."""
        number = self.claim.training_number
        for output in outputs(PART_KINDS[self.claim.kind].makes, () if number is None else (number,)):
            for name in files_of(output):
                self.stop.check()
                self.worker.store.put_file(self.claim.output_prefix + name, self.work / name)

    def _fetch(self, key: str, path: Path) -> None:
        self.stop.check()
        self.worker.store.get_file(key, path)


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder
