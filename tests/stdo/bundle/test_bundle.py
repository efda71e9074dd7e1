"""Bundles from folders and URLs: nothing is used before its hash was checked."""

from __future__ import annotations

import functools
import gc
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

import stdo
from stdo.errors import BundleNotFoundError, DamagedBundleError, InvalidManifestError, TransferError
from tests.stdo.make_golden import GOLDEN


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "rgb", tmp_path / "bundle"))


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder, remembers the paths asked for, and can demand a key."""

    asked: list[str]
    key: str | None

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.key is not None and self.headers["Authorization"] != f"Bearer {self.key}":
            self.send_error(401)
        elif self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.replace("/moved/", "/bundle/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *arguments: object) -> None:
        """No lines on standard error."""


class Site:
    """An HTTP server over a folder."""

    def __init__(self, root: Path) -> None:
        handler = type("Handler", (_Handler,), {"asked": [], "key": None})
        self.handler: type[_Handler] = handler
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(root)))
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    site = Site(folder.parent)
    thread = threading.Thread(target=site.server.serve_forever, args=(0.01,))
    thread.start()
    yield site
    site.server.shutdown()
    site.server.server_close()
    thread.join()


@pytest.mark.parametrize("name", ["", "manifest.json"])
def test_bundle_opens_by_its_folder_or_its_manifest(name: str, folder: Path) -> None:
    with stdo.open_bundle(str(folder / name)) as bundle:
        assert bundle.manifest.bundle_id == "test-bundle"
        assert len(bundle.manifest_bytes) == (folder / "manifest.json").stat().st_size
        assert bundle.path(bundle.manifest.base_stream) == folder / "base.mp4"


@pytest.mark.parametrize("place", ["nowhere", "bundle/base.mp4"])
def test_place_without_a_bundle_is_refused(place: str, folder: Path) -> None:
    with pytest.raises(BundleNotFoundError, match=r"There is no bundle in .*manifest\.json can't be read"):
        stdo.open_bundle(folder.parent / place)


def test_untouched_bundle_verifies(folder: Path) -> None:
    with stdo.open_bundle(folder) as bundle:
        checks = list(bundle.verify())
    assert [check.file.path for check in checks] == [
        "base.mp4",
        "networks/0.onnx",
        "networks/1.onnx",
        "networks/2.onnx",
        "patch_index/00000.bin",
        "patch_index/00001.bin",
        "quality/report.json",
    ]
    assert [check.problem for check in checks] == [None] * 7


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("file", ["base.mp4", "networks/1.onnx", "patch_index/00001.bin"])
def test_tampered_file_is_never_used(file: str, folder: Path) -> None:
    _flip_a_bit(folder / file)
    with stdo.open_bundle(folder) as bundle:
        with pytest.raises(DamagedBundleError, match=f"{file} differs from what the manifest promises"):
            list(stdo.reconstruct(bundle))
        problems = {check.file.path: check.problem for check in bundle.verify() if check.problem}
    assert list(problems) == [file]


def test_missing_file_is_named(folder: Path) -> None:
    (folder / "networks" / "0.onnx").unlink()
    with stdo.open_bundle(folder) as bundle, pytest.raises(DamagedBundleError, match=r"networks/0\.onnx .* Fetch"):
        bundle.read(bundle.manifest.networks[0])


def test_file_that_changes_after_it_was_verified_is_found(folder: Path) -> None:
    with stdo.open_bundle(folder) as bundle:
        assert all(check.problem is None for check in bundle.verify())
        _flip_a_bit(folder / "base.mp4")
        assert [check.file.path for check in bundle.verify() if check.problem] == ["base.mp4"]


def test_link_out_of_the_folder_is_not_followed(folder: Path) -> None:
    outside = folder.parent / "outside.onnx"
    shutil.move(folder / "networks" / "0.onnx", outside)
    (folder / "networks" / "0.onnx").symlink_to(outside)
    with stdo.open_bundle(folder) as bundle, pytest.raises(DamagedBundleError, match="leads out of the bundle"):
        bundle.path(bundle.manifest.networks[0])


@pytest.mark.parametrize(
    "address", ["/bundle", "/bundle/", "/bundle/manifest.json", "/bundle/manifest.json?a=b", "/moved/manifest.json"]
)
def test_bundle_is_restored_from_a_url(address: str, site: Site) -> None:
    with stdo.open_bundle(site.url + address) as bundle, stdo.open_bundle(GOLDEN / "rgb") as local:
        for frame, expected in zip(stdo.reconstruct(bundle), stdo.reconstruct(local), strict=True):
            assert (frame.rgb == expected.rgb).all()
        temporary = bundle.path(bundle.manifest.base_stream).parent
    assert not temporary.exists()


def test_temporary_folder_goes_with_a_bundle_that_nobody_closes(site: Site) -> None:
    with httpx.Client() as http:
        bundle = stdo.open_bundle(f"{site.url}/bundle", http=http)
        temporary = bundle.path(bundle.manifest.base_stream).parent
        assert temporary.is_dir()
        del bundle
        gc.collect()
    assert not temporary.exists()


def test_only_what_the_frames_need_is_fetched(site: Site) -> None:
    with stdo.open_bundle(f"{site.url}/bundle") as bundle:
        next(stdo.reconstruct(bundle, frames=range(3, 4)))
    assert "/bundle/patch_index/00001.bin" in site.handler.asked
    assert "/bundle/patch_index/00000.bin" not in site.handler.asked
    assert "/bundle/quality/report.json" not in site.handler.asked


def test_cache_is_used_again_and_healed(site: Site, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with stdo.open_bundle(f"{site.url}/bundle", cache_folder=cache) as bundle:
        first = bundle.path(bundle.manifest.base_stream)
    site.handler.asked.clear()
    with stdo.open_bundle(f"{site.url}/bundle", cache_folder=cache) as bundle:
        assert bundle.path(bundle.manifest.base_stream) == first
        assert site.handler.asked == ["/bundle/manifest.json"]
    _flip_a_bit(first)
    with stdo.open_bundle(f"{site.url}/bundle", cache_folder=cache) as bundle:
        assert bundle.read(bundle.manifest.base_stream) == (GOLDEN / "rgb" / "base.mp4").read_bytes()
    assert [path.name for path in cache.iterdir()] == [first.name]


@pytest.mark.parametrize("tamper", [_flip_a_bit, lambda path: path.write_bytes(path.read_bytes() + b"\0")])
def test_tampered_download_is_refused_and_not_kept(tamper: object, site: Site, folder: Path, tmp_path: Path) -> None:
    assert callable(tamper)
    tamper(folder / "base.mp4")
    with stdo.open_bundle(f"{site.url}/bundle", cache_folder=tmp_path / "cache") as bundle:
        with pytest.raises(DamagedBundleError, match=r"base\.mp4 differs"):
            bundle.path(bundle.manifest.base_stream)
        assert not list((tmp_path / "cache").iterdir())


def test_cache_folder_that_is_none_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with (
        stdo.open_bundle(f"{site.url}/bundle", cache_folder=tmp_path / "cache") as bundle,
        pytest.raises(TransferError, match=r"can't be kept in .*cache.* give another cache folder"),
    ):
        bundle.path(bundle.manifest.base_stream)


def test_url_without_a_bundle_is_named(site: Site) -> None:
    with pytest.raises(BundleNotFoundError, match=r"There is no bundle at .*/nothing/manifest\.json"):
        stdo.open_bundle(f"{site.url}/nothing")


def test_missing_file_behind_a_url_is_named(site: Site, folder: Path) -> None:
    (folder / "base.mp4").unlink()
    with stdo.open_bundle(f"{site.url}/bundle") as bundle, pytest.raises(DamagedBundleError, match=r"base\.mp4"):
        bundle.path(bundle.manifest.base_stream)


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
