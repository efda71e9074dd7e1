"""A job whose bundle is in the store."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import httpx

from core.jobs.bundles import PublishedBundle
from core.jobs.claims import Finished, Made
from tests.app.live import LiveApi
from tests.core.samples import claim, sample_bundle, succeed, training_job

BASE_STREAM = bytes(range(250)) * 2


@dataclass(frozen=True, kw_only=True)
class Published:
    """A job whose bundle is in the store."""

    api: LiveApi
    job_id: str

    def get(self, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        """A file of the bundle, without following the way to the store."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.client.request(method, f"/v1/jobs/{self.job_id}/bundle/{path}", headers=named)


def publish(api: LiveApi, folder: Path) -> Published:
    """Some files under a sample manifest's names."""
    database = api.deployment.database
    job_id = training_job(database, training_count=1)
    bundle = sample_bundle(job_id)
    contents = {
        "manifest.json": bundle.manifest.model_dump_json().encode(),
        "base.mp4": BASE_STREAM,
        "base.m3u8": b"#EXTM3U",
        "segments.bin": b"table",
        "networks/0.onnx": b"weights",
    }
    for path, content in contents.items():
        (folder / "file").write_bytes(content)
        api.deployment.store.put_file(bundle.prefix + path, folder / "file")
    succeed(database, claim(database, job_id, "train", 0, seconds=1), Made(), seconds=2)
    held = claim(database, job_id, "finish", seconds=3)
    succeed(database, held, Finished(bundle=with_true_entries(bundle, contents)), seconds=4)
    return Published(api=api, job_id=job_id)


def with_true_entries(bundle: PublishedBundle, contents: dict[str, bytes]) -> PublishedBundle:
    def truth(path: str) -> dict[str, object]:
        return {"byte_count": len(contents[path]), "sha256": hashlib.sha256(contents[path]).hexdigest()}

    manifest = bundle.manifest
    first, *others = manifest.networks
    assert first.file is not None
    network = first.model_copy(update={"file": first.file.model_copy(update=truth("networks/0.onnx"))})
    return PublishedBundle(
        prefix=bundle.prefix,
        manifest=manifest.model_copy(
            update={
                "base_stream": manifest.base_stream.model_copy(update=truth("base.mp4")),
                "playlist": manifest.playlist.model_copy(update=truth("base.m3u8")),
                "segments": manifest.segments.model_copy(update=truth("segments.bin")),
                "networks": (network, *others),
            }
        ),
        manifest_file=bundle.manifest_file.model_copy(update=truth("manifest.json")),
    )
