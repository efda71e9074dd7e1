"""A task's own folder on the local disk. It vanishes with the task, or else when a later task of the machine begins."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

YOUNG_SECONDS = 60.0
"""A folder this young may be about to be locked by its owner."""

logger = logging.getLogger(__name__)


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """A new, empty folder below `root`, locked while the block runs and deleted at its end."""
    root.mkdir(parents=True, exist_ok=True)
    remove_abandoned(root)
    folder = Path(tempfile.mkdtemp(prefix="task-", dir=root))
    with _locked(folder):
        try:
            yield folder
        finally:
            _remove(folder)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError:
        # The task's result stands: what is left here costs space alone, and a later task tries again.
        logger.warning("the folder %s could not be removed", folder, exc_info=True)


def remove_abandoned(root: Path) -> None:
    """Delete the folders of tasks whose worker died. Those of living workers are locked and stay."""
    for folder in root.glob("task-*"):
        try:
            if time.time() - folder.stat().st_mtime < YOUNG_SECONDS:
                continue
            with _locked(folder):
                shutil.rmtree(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # Its owner lives, or another worker was faster.
        except OSError:
            # Somebody else's, perhaps. No reason for this machine's tasks to fail.
            logger.warning("the abandoned folder %s could not be removed", folder, exc_info=True)
            continue
        logger.info("removed the abandoned folder %s", folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
