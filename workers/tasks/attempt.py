"""One attempt at a task: its files, and the step that does the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from core.database import Database
from core.errors import ObjectNotFoundError
from core.jobs import leases
from core.jobs.claims import Claim
from core.jobs.jobs import work_key
from core.jobs.videos import source_key
from core.presets import EncodingSettings
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import TaskKind
from workers.sandbox.environment import step_environment
from workers.sandbox.parent import run_step
from workers.sandbox.part_spec import StepSpec
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
    """A task that this worker holds, with a folder of its own."""

    worker: Worker
    claim: Claim
    folder: Path
    stop: StopSignal
    keeper: LeaseKeeper

    @property
    def job_id(self) -> str:
        """The job of a task that has one."""
        assert self.claim.job_id is not None
        return self.claim.job_id

    @property
    def encoding(self) -> EncodingSettings:
        """The encoding settings of a task that has a job."""
        assert self.claim.settings is not None
        return self.claim.settings

    @property
    def work(self) -> Path:
        """Where the step finds its inputs besides the source, and leaves its outputs."""
        return _made(self.folder / "work")

    def fetch_source(self) -> Path:
        """The uploaded file."""
        path = self.folder / "source"
        self.worker.store.get_file(source_key(self.claim.video_id), path)
        self.stop.check()
        return path

    def fetch_outputs_of_earlier_tasks(self) -> frozenset[str]:
        """Into `work`: what the job's tasks have left that have succeeded so far. Their names."""
        names = set()
        for prefix in self._finished_prefixes():
            for key in self.worker.store.list_prefix(prefix):
                name = key.removeprefix(prefix)
                self.worker.store.get_file(key, self.work / name)
                names.add(name)
                self.stop.check()
        return frozenset(names)

    def fetch_checkpoint(self, key: str, path: Path) -> None:
        """An earlier attempt's checkpoint, if one was kept."""
        try:
            self.worker.store.get_file(key, path)
        except ObjectNotFoundError:
            return

    def store_outputs(self, *, besides: Collection[str] = ()) -> None:
        """Keep the files of `work` for the tasks that follow, `besides` those of these names."""
        claim = self.claim
        prefix = _outputs_prefix(self.job_id, claim.kind, claim.network_number, claim.attempt)
        for path in sorted(self.work.iterdir()):
            if path.name not in besides:
                self.stop.check()
                self.worker.store.put_file(prefix + path.name, path)

    def run(self, spec: StepSpec) -> None:
        """Run the step in a child process. Raises as `workers.sandbox.parent.run_step` does."""
        spec_path = self.folder / "spec.json"
        spec_path.write_text(spec.model_dump_json())
        settings = self.worker.settings
        run_step(
            [sys.executable, "-m", "workers", "step", str(spec_path)],
            environment=step_environment(
                os.environ, temporary=_made(self.folder / "temporary"), threads=settings.threads
            ),
            stop=self.stop,
            on_report=self.keeper.report,
            no_progress_seconds=settings.no_progress_seconds,
        )

    def _finished_prefixes(self) -> list[str]:
        with self.worker.database.snapshot() as session:
            return [
                _outputs_prefix(self.job_id, task.kind, task.network_number, task.attempt)
                for task in leases.tasks_of_job(session, self.job_id)
                if task.state == "succeeded"
            ]


def _outputs_prefix(job_id: str, kind: TaskKind, network_number: int | None, attempt: int) -> str:
    # No two attempts use one at the same time: one that has lost its lease, but not noticed yet, can't spoil what is in
    # use. (One that was given back has ended; its number and its files go to the next.)
    part = "" if network_number is None else f"-{network_number}"
    return work_key(job_id, f"{kind}{part}-{attempt}/")


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder
