from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import wait_until
from workers.tasks.scratch import YOUNG_SECONDS, remove_abandoned, scratch_folder


def make_old(folder: Path) -> None:
    long_ago = time.time() - YOUNG_SECONDS - 1
    os.utime(folder, (long_ago, long_ago))


def test_the_folder_is_gone_at_the_end_even_after_an_error(tmp_path: Path) -> None:
    root = tmp_path / "scratch" / "tasks"

    def crash() -> None:
        with scratch_folder(root) as folder:
            (folder / "work").mkdir()
            (folder / "work" / "frames").write_bytes(b"x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        crash()

    assert list(root.iterdir()) == []


def test_the_folder_of_a_killed_worker_is_removed_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    script = f"""
import time
from pathlib import Path
from workers.tasks.scratch import scratch_folder
with scratch_folder(Path({str(tmp_path)!r})) as folder:
    (folder / "work").mkdir()
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        wait_until(lambda: any(tmp_path.glob("task-*/work")), seconds=20, what="the folder")
        (folder,) = tmp_path.iterdir()
        make_old(folder)
        remove_abandoned(tmp_path)
        assert folder.exists()
    finally:
        process.kill()
        process.wait()

    remove_abandoned(tmp_path)

    assert not folder.exists()


def test_a_folder_that_was_just_made_is_left_alone(tmp_path: Path) -> None:
    fresh, old = tmp_path / "task-fresh", tmp_path / "task-old"
    for folder in (fresh, old):
        folder.mkdir()
    make_old(old)

    remove_abandoned(tmp_path)

    assert [folder.name for folder in tmp_path.iterdir()] == ["task-fresh"]


def test_a_folder_that_cannot_be_removed_spoils_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with scratch_folder(tmp_path) as folder:
        folder.rmdir()

    assert f"the folder {folder} could not be removed" in caplog.text


def test_what_is_not_ours_keeps_nobody_from_working(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    foreign, old = tmp_path / "task-foreign", tmp_path / "task-old"
    foreign.write_text("a file, where a folder was expected")
    old.mkdir()
    for path in (foreign, old):
        make_old(path)

    with scratch_folder(tmp_path) as folder:
        assert folder.exists()

    assert [path.name for path in tmp_path.iterdir()] == ["task-foreign"]
    assert f"the abandoned folder {foreign} could not be removed" in caplog.text
