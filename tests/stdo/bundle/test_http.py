"""Bundles behind a URL: what is fetched, what is kept, and what is refused."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import httpx
import pytest

import stdo
from stdo.bundle import files
from stdo.errors import BundleNotFoundError, DamagedBundleError, InvalidManifestError, TransferError
from tests.stdo.bundle.conftest import Site, flip_a_bit, serving

_READ = ("manifest.json", "segments.bin", "base.mp4")
"""What one segment of the base stream takes."""


@pytest.mark.parametrize(
    "address", ["/bundle", "/bundle/", "/bundle/manifest.json", "/bundle/manifest.json?a=b", "/moved/manifest.json"]
)
@pytest.mark.parametrize("ranges", [True, False])
def test_bundle_verifies_from_a_url(address: str, ranges: bool, site: Site) -> None:
    site.handler.ranges = ranges
    with stdo.open_bundle(site.url + address) as bundle:
        assert [check.problem for check in bundle.verify()] == [None] * 7
        temporary = bundle.path(bundle.manifest.base_stream).parent
        assert len(list(temporary.iterdir())) == 7
    assert not temporary.exists()


def test_only_the_bytes_of_a_segment_are_asked_for(site: Site, folder: Path) -> None:
    with stdo.open_bundle(f"{site.url}/bundle") as bundle:
        segment = bundle.segments[1]
        index, part = segment.patch_index, segment.base_stream
        assert index is not None
        header_bytes = bundle.manifest.base_stream.header.byte_count
        for _ in range(2):
            stream = bundle.header_bytes() + bundle.segment_bytes(segment)
            numbers = bundle.numbers(segment)
    whole = (folder / "base.mp4").read_bytes()
    assert stream == whole[:header_bytes] + whole[part.offset : part.end]
    assert numbers.shape == (2, 9)
    assert site.asked == [
        ("/bundle/manifest.json", None),
        ("/bundle/segments.bin", None),
        ("/bundle/base.mp4", f"bytes=0-{header_bytes - 1}"),
        ("/bundle/base.mp4", f"bytes={part.offset}-{part.end - 1}"),
        ("/bundle/index.bin", f"bytes={index.offset}-{index.end - 1}"),
    ]
    manifest_bytes = (folder / "manifest.json").stat().st_size
    assert site.handler.sent == [manifest_bytes, 300, header_bytes, part.byte_count, index.byte_count]


def test_server_without_ranges_sends_each_file_once(site: Site, folder: Path) -> None:
    site.handler.ranges = False
    with stdo.open_bundle(f"{site.url}/bundle") as bundle:
        stream = bundle.header_bytes() + b"".join(bundle.segment_bytes(segment) for segment in bundle.segments)
        numbers = [bundle.numbers(segment) for segment in bundle.segments]
    assert stream == (folder / "base.mp4").read_bytes()
    assert [part.shape for part in numbers] == [(2, 9), (2, 9), (1, 9)]
    assert [path for path, _ in site.asked] == [
        "/bundle/manifest.json",
        "/bundle/base.mp4",
        "/bundle/segments.bin",
        "/bundle/index.bin",
    ]


def test_what_breaks_off_is_fetched_anew(site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PAUSES_SECONDS", (0.0, 0.0, 0.0))
    with stdo.open_bundle(f"{site.url}/bundle") as bundle:
        site.handler.cuts += ["/bundle/base.mp4"] * 3 + ["/bundle/segments.bin"]
        segment = bundle.segments[1]
        part = segment.base_stream
        assert bundle.segment_bytes(segment) == (folder / "base.mp4").read_bytes()[part.offset : part.end]
        site.handler.cuts += ["/bundle/index.bin"] * 4
        with pytest.raises(TransferError, match=r"index\.bin can't be fetched"):
            bundle.numbers(segment)


def test_temporary_folder_goes_with_a_bundle_that_nobody_closes(site: Site) -> None:
    with httpx.Client() as http:
        bundle = stdo.open_bundle(f"{site.url}/bundle", http=http)
        temporary = bundle.path(bundle.manifest.base_stream).parent
        assert temporary.is_dir()
        del bundle
        gc.collect()
    assert not temporary.exists()


def test_cache_is_used_again_and_healed(site: Site, folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with stdo.open_bundle(f"{site.url}/bundle", cache_folder=cache) as bundle:
        first = bundle.path(bundle.manifest.base_stream)
    site.asked.clear()
    with stdo.open_bundle(f"{site.url}/bundle", cache_folder=cache) as bundle:
        assert bundle.path(bundle.manifest.base_stream) == first
        assert site.asked == [("/bundle/manifest.json", None)]
        # A segment is read out of the whole file.
        bundle.segment_bytes(bundle.segments[0])
        assert [path for path, _ in site.asked] == ["/bundle/manifest.json", "/bundle/segments.bin"]
    flip_a_bit(first)
    with stdo.open_bundle(f"{site.url}/bundle", cache_folder=cache) as bundle:
        assert bundle.path(bundle.manifest.base_stream).read_bytes() == (folder / "base.mp4").read_bytes()
        kept = {bundle.manifest.base_stream.sha256, bundle.manifest.segments.sha256}
    assert {path.name for path in cache.iterdir()} == kept


def test_segments_are_kept_and_healed(site: Site, folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with stdo.open_bundle(f"{site.url}/bundle", cache_folder=cache) as bundle:
        part = bundle.segments[1].base_stream
        bundle.segment_bytes(bundle.segments[1])
    flip_a_bit(cache / part.sha256)
    site.asked.clear()
    with stdo.open_bundle(f"{site.url}/bundle", cache_folder=cache) as bundle:
        for _ in range(2):
            data = bundle.segment_bytes(bundle.segments[1])
            assert data == (folder / "base.mp4").read_bytes()[part.offset : part.end]
    assert site.asked[1:] == [("/bundle/base.mp4", f"bytes={part.offset}-{part.end - 1}")]


@pytest.mark.parametrize("tamper", [flip_a_bit, lambda path: path.write_bytes(path.read_bytes() + b"\0")])
def test_tampered_download_is_refused_and_not_kept(tamper: Any, site: Site, folder: Path, tmp_path: Path) -> None:
    tamper(folder / "base.mp4")
    with stdo.open_bundle(f"{site.url}/bundle", cache_folder=tmp_path / "cache") as bundle:
        with pytest.raises(DamagedBundleError, match=r"base\.mp4 differs"):
            bundle.path(bundle.manifest.base_stream)
        assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("ranges", [True, False])
def test_tampered_segment_is_refused_and_not_kept(ranges: bool, site: Site, folder: Path, tmp_path: Path) -> None:
    site.handler.ranges = ranges
    flip_a_bit(folder / "base.mp4", -1)
    with stdo.open_bundle(f"{site.url}/bundle", cache_folder=tmp_path / "cache") as bundle:
        with pytest.raises(DamagedBundleError, match=r"base\.mp4 differs"):
            bundle.segment_bytes(bundle.segments[2])
        assert [path.name for path in (tmp_path / "cache").iterdir()] == [bundle.manifest.segments.sha256]


def test_file_that_is_too_short_for_a_range_is_refused(site: Site, folder: Path) -> None:
    (folder / "base.mp4").write_bytes(b"short")
    with (
        stdo.open_bundle(f"{site.url}/bundle") as bundle,
        pytest.raises(DamagedBundleError, match=r"base\.mp4 differs"),
    ):
        bundle.segment_bytes(bundle.segments[2])


def test_cache_folder_that_is_none_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with stdo.open_bundle(f"{site.url}/bundle", cache_folder=tmp_path / "cache") as bundle:
        for read in (bundle.path, bundle.read):
            with pytest.raises(TransferError, match=r"can't be kept in .*cache.* give another cache folder"):
                read(bundle.manifest.base_stream)


def test_url_without_a_bundle_is_named(site: Site) -> None:
    with pytest.raises(BundleNotFoundError, match=r"There is no bundle at .*/nothing/manifest\.json"):
        stdo.open_bundle(f"{site.url}/nothing")


def test_missing_file_behind_a_url_is_named(site: Site, folder: Path) -> None:
    (folder / "base.mp4").unlink()
    with stdo.open_bundle(f"{site.url}/bundle") as bundle:
        with pytest.raises(DamagedBundleError, match=r"base\.mp4 of the bundle is not at"):
            bundle.path(bundle.manifest.base_stream)
        with pytest.raises(DamagedBundleError, match=r"base\.mp4 of the bundle is not at"):
            bundle.header_bytes()


def test_server_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(TransferError, match=r"can't be fetched: .* Check the address, or try again"):
        stdo.open_bundle("http://127.0.0.1:1/bundle")


def test_own_client_carries_its_key_and_stays_open(site: Site) -> None:
    site.handler.key = "secret"
    with pytest.raises(TransferError, match="the server answers 401"):
        stdo.open_bundle(f"{site.url}/bundle")
    with httpx.Client(headers={"Authorization": "Bearer secret"}) as http:
        with stdo.open_bundle(f"{site.url}/bundle", http=http) as bundle:
            assert all(check.problem is None for check in bundle.verify())
        assert not http.is_closed


def test_key_is_not_sent_to_where_files_have_moved(site: Site, folder: Path) -> None:
    with serving(folder.parent) as store, httpx.Client(headers={"Authorization": "Bearer secret"}) as http:
        site.handler.moved_to = store.url
        with stdo.open_bundle(f"{site.url}/moved", http=http) as bundle:
            assert bundle.segment_bytes(bundle.segments[1])
        assert site.handler.keys == {"Bearer secret"}
        assert store.handler.keys == {None}
        # Every request goes to the site first: addresses in the store may be good for some minutes alone.
        assert [path for path, _ in site.asked] == [f"/moved/{name}" for name in _READ]
        assert [path for path, _ in store.asked] == [f"/bundle/{name}" for name in _READ]


def test_broken_manifest_leaves_nothing_behind(
    site: Site, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    (folder / "manifest.json").write_text('{"format": "stdo-bundle", "format_version": "1.0"}', encoding="utf-8")
    with pytest.raises(InvalidManifestError):
        stdo.open_bundle(f"{site.url}/bundle")
    assert not list(temporary.iterdir())
