"""Published bundles: where their files lie, and what the API says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from core.callers import Caller
from core.errors import BundleFileNotFoundError, BundleNotReadyError, JobNotFoundError
from core.tables import BundleRow, JobRow
from stdo.bundle.manifest import FileEntry, Manifest, PictureQuality
from stdo.bundle.manifest_reader import MANIFEST_NAME
from stdo.service.resources import BundleSummary


@dataclass(frozen=True, kw_only=True)
class PublishedBundle:
    """A bundle whose objects are all in the store."""

    prefix: str
    """From core.storage.keys.bundle_prefix()."""
    manifest: Manifest
    manifest_file: FileEntry
    """Byte count and SHA-256 of manifest.json itself."""


@dataclass(frozen=True, kw_only=True)
class BundleFile:
    """One file of a bundle, in the object store."""

    key: str
    byte_count: int
    sha256: str


def add(session: Session, job: JobRow, bundle: PublishedBundle, *, now: datetime) -> None:
    """Make a bundle visible."""
    entries = (bundle.manifest_file, *bundle.manifest.all_files())
    session.add(
        BundleRow(
            job_id=job.id,
            tenant=job.tenant,
            prefix=bundle.prefix,
            created_at=now,
            files=[entry.model_dump(include=set(FileEntry.model_fields)) for entry in entries],
            bytes=bundle.manifest.byte_counts(bundle.manifest_file.byte_count),
            quality=_quality_by_method(bundle.manifest),
        )
    )


def _quality_by_method(manifest: Manifest) -> dict[str, dict[str, float | None]]:
    quality = manifest.quality
    if quality is None:
        return {}
    methods: Mapping[str, PictureQuality] = {
        "restored": quality.restored,
        "bicubic": quality.bicubic,
        "lanczos": quality.lanczos,
        "f0": quality.f0,
    }
    return {name: picture.model_dump() for name, picture in methods.items()}


def find_file(session: Session, caller: Caller, job_id: str, path: str) -> BundleFile:
    """The file of a job's bundle that its manifest calls `path` (or manifest.json itself).

    Only paths that the manifest names are found, so a path made up by a caller reaches nothing.

    Raises: JobNotFoundError, BundleNotReadyError, BundleFileNotFoundError.
    """
    job = session.get(JobRow, job_id)
    if job is None or job.tenant != caller.tenant:
        raise JobNotFoundError(job_id)
    row = session.get(BundleRow, job_id)
    if row is None:
        raise BundleNotReadyError(job_id, job.state)
    for entry in row.files:
        if entry["path"] == path:
            return BundleFile(key=row.prefix + path, byte_count=entry["byte_count"], sha256=entry["sha256"])
    raise BundleFileNotFoundError(path)


def to_summary(row: BundleRow) -> BundleSummary:
    """The bundle as the API tells it."""
    return BundleSummary(
        manifest_url=f"/v1/jobs/{row.job_id}/bundle/{MANIFEST_NAME}", bytes=row.bytes, quality=row.quality
    )
