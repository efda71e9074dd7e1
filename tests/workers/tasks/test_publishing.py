from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from core.jobs.progress import StageReport
from core.storage.keys import bundle_prefix
from stdo.errors import InvalidManifestError
from tests.core.samples import sample_bundle
from tests.deployments import Deployment
from workers.sandbox.stop_signal import StoppedError, StopReason
from workers.tasks.publishing import publish

PREFIX = bundle_prefix("1", 2)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder with a manifest and every file that it names, each with its own name as content."""
    folder = tmp_path / "bundle"
    manifest = sample_bundle("1").manifest
    for entry in manifest.all_files():
        path = folder / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entry.path)
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    (folder / "left-over.tmp").write_text("not named by the manifest")
    return folder


def test_stores_what_the_manifest_names_and_the_manifest_last(deployment: Deployment, bundle: Path) -> None:
    reports: list[StageReport] = []
    manifest_seen: list[bool] = []

    def look(report: StageReport) -> None:
        reports.append(report)
        manifest_seen.append(deployment.store.stat(PREFIX + "manifest.json") is not None)

    published = publish(bundle, store=deployment.store, prefix=PREFIX, report=look)

    names = [
        "base.m3u8",
        "base.mp4",
        "index.bin",
        "networks/0.onnx",
        "networks/1.onnx",
        "quality/report.json",
        "segments.bin",
    ]
    assert deployment.store.list_prefix(PREFIX) == sorted(PREFIX + name for name in [*names, "manifest.json"])
    assert deployment.store.read(PREFIX + "networks/1.onnx") == b"networks/1.onnx"
    assert [(report.done, report.total) for report in reports] == [(done, 8) for done in range(9)]
    assert manifest_seen == [False] * 8 + [True]
    assert published.prefix == PREFIX
    assert published.manifest == sample_bundle("1").manifest
    content = (bundle / "manifest.json").read_bytes()
    assert published.manifest_file.byte_count == len(content)
    assert published.manifest_file.sha256 == hashlib.sha256(content).hexdigest()


def test_a_stop_in_the_middle_leaves_no_manifest(embedded_deployment: Deployment, bundle: Path) -> None:
    def stop(report: StageReport) -> None:
        if report.done == 2:
            raise StoppedError(StopReason.LEASE_LOST)

    with pytest.raises(StoppedError):
        publish(bundle, store=embedded_deployment.store, prefix=PREFIX, report=stop)

    assert embedded_deployment.store.list_prefix(PREFIX) == [PREFIX + "base.m3u8", PREFIX + "segments.bin"]


def test_what_a_reader_would_refuse_is_not_published(embedded_deployment: Deployment, bundle: Path) -> None:
    manifest = sample_bundle("1").manifest
    assert manifest.patch_grid is not None
    # Valid by its types alone: these patches would make four columns, not one.
    wrong = manifest.model_copy(update={"patch_grid": manifest.patch_grid.model_copy(update={"patch_width": 12})})
    (bundle / "manifest.json").write_text(wrong.model_dump_json())

    with pytest.raises(InvalidManifestError, match="patch_grid"):
        publish(bundle, store=embedded_deployment.store, prefix=PREFIX, report=lambda _: None)

    assert embedded_deployment.store.list_prefix(PREFIX) == []
