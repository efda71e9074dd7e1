from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from core.storage.object_store import ObjectStore
from tests.deployments import Deployment
from tests.processes import wait_until
from workers.sandbox.stop_signal import StoppedError, StopReason, StopSignal
from workers.tasks import checkpoint_upload as checkpoint_keeper
from workers.tasks.checkpoint_upload import CheckpointKeeper

KEY = "jobs/1/work/checkpoint_0.safetensors"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_keeper, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(checkpoint_keeper, "UPLOAD_INTERVAL_SECONDS", 0.05)


def write(path: Path, content: bytes) -> None:
    """As a part does: whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def stored(store: ObjectStore) -> bytes | None:
    return None if store.stat(KEY) is None else store.read(KEY)


def test_uploads_each_new_checkpoint(deployment: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"

    with CheckpointKeeper(deployment.store, KEY, path, StopSignal(Event())):
        write(path, b"first")
        wait_until(lambda: stored(deployment.store) == b"first", seconds=10, what="the first upload")
        write(path, b"second")
        wait_until(lambda: stored(deployment.store) == b"second", seconds=10, what="the second upload")

    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["checkpoint.safetensors"]


def test_does_not_upload_the_checkpoint_it_was_resumed_from(embedded_deployment: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write(path, b"resumed from")

    with (
        pytest.raises(StoppedError),
        CheckpointKeeper(embedded_deployment.store, KEY, path, StopSignal(Event())),
    ):
        raise StoppedError(StopReason.SHUTDOWN)

    assert stored(embedded_deployment.store) is None


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        (StopReason.SHUTDOWN, b"last"),
        (None, b"last"),
        (StopReason.CANCELLED, None),
        (StopReason.LEASE_LOST, None),
    ],
)
def test_the_last_checkpoint_is_kept_for_whoever_may_go_on(
    embedded_deployment: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reason: StopReason | None,
    kept: bytes | None,
) -> None:
    monkeypatch.setattr(checkpoint_keeper, "LOOK_SECONDS", 600.0)
    path = tmp_path / "checkpoint.safetensors"
    stop = StopSignal(Event())

    def crash() -> None:
        write(path, b"last")
        if reason is not None:
            stop.set(reason)
        raise RuntimeError("the part has ended")

    with pytest.raises(RuntimeError), CheckpointKeeper(embedded_deployment.store, KEY, path, stop):
        crash()

    assert stored(embedded_deployment.store) == kept


def test_a_store_without_answer_does_not_end_the_training(
    embedded_deployment: Deployment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    jobs = embedded_deployment.settings.objects_dir / "files" / "jobs"
    jobs.parent.mkdir(parents=True, exist_ok=True)
    jobs.write_bytes(b"a file where the store needs a folder")

    with CheckpointKeeper(embedded_deployment.store, KEY, path, StopSignal(Event())):
        write(path, b"first")
        wait_until(lambda: "could not be uploaded" in caplog.text, seconds=10, what="the failed upload")
        jobs.unlink()
        write(path, b"second")
        wait_until(lambda: stored(embedded_deployment.store) == b"second", seconds=10, what="the next upload")
