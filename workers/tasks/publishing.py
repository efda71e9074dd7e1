"""Put a finished bundle into the object store: every file first, the manifest last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from core.jobs.bundles import PublishedBundle
from core.jobs.progress import StageReport
from core.storage.object_store import ObjectStore
from stdo.bundle.manifest import FileEntry
from stdo.bundle.manifest_reader import MANIFEST_NAME, parse_manifest


def publish(bundle: Path, *, store: ObjectStore, prefix: str, report: Callable[[StageReport], None]) -> PublishedBundle:
    """Copy the files that the manifest names below `prefix`, which nobody has read from yet.

    Args:
        bundle: folder with manifest.json and all files beside it.
        report: told of each stored file. What it raises ends the copying.

    Raises:
        StdoError: a reader would refuse the manifest. Nothing was copied.
        ServiceError, OSError
    """
    manifest_bytes = (bundle / MANIFEST_NAME).read_bytes()
    manifest = parse_manifest(manifest_bytes)
    names = [*(entry.path for entry in manifest.all_files()), MANIFEST_NAME]
    for count, name in enumerate(names):
        report(StageReport(stage="publish", done=count, total=len(names), unit="files"))
        store.put_file(prefix + name, bundle / name)
    report(StageReport(stage="publish", done=len(names), total=len(names), unit="files"))
    return PublishedBundle(
        prefix=prefix,
        manifest=manifest,
        manifest_file=FileEntry(
            path=MANIFEST_NAME, byte_count=len(manifest_bytes), sha256=hashlib.sha256(manifest_bytes).hexdigest()
        ),
    )
