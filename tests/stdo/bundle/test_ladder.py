"""A ladder of two bundles of one video."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import pytest

import stdo
from stdo.bundle.bundle import Bundle
from stdo.bundle.ladder import check_ladder, ladder_bytes, ladder_playlist, make_ladder, parse_ladder
from stdo.errors import LadderError
from tests.stdo.bundles import write_small_bundle


@pytest.fixture(scope="module")
def rungs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`1`: at full size without networks; `2`: at half of it with two; `3`: cut at other frames."""
    folder = tmp_path_factory.mktemp("ladder")
    write_small_bundle(folder / "1", width=64, height=48, scale=1, networks=[])
    write_small_bundle(folder / "2", width=64, height=48, base_stream_options={"qp": "30"})
    write_small_bundle(folder / "3", width=64, height=48, segment_starts=(0, 3))
    return folder


@pytest.fixture
def bundles(rungs: Path) -> Iterator[dict[str, Bundle]]:
    opened = {f"{number}/manifest.json": stdo.open_bundle(rungs / str(number)) for number in (1, 2, 3)}
    yield opened
    for bundle in opened.values():
        bundle.close()


def _two(bundles: dict[str, Bundle]) -> dict[str, Bundle]:
    return {path: bundles[path] for path in ("1/manifest.json", "2/manifest.json")}


def test_ladder_lists_its_rungs_from_the_lowest(bundles: dict[str, Bundle], rungs: Path) -> None:
    ladder = make_ladder(_two(bundles))
    low, high = ladder.rungs
    assert [low.manifest.path, high.manifest.path] == ["2/manifest.json", "1/manifest.json"]
    assert low.playlist == "2/base.m3u8"
    assert (low.scale, low.base_width, low.base_height, low.display_width, low.display_height) == (2, 32, 24, 64, 48)
    assert low.manifest.sha256 == hashlib.sha256((rungs / "2" / "manifest.json").read_bytes()).hexdigest()
    files = [path for path in (rungs / "2").rglob("*") if path.is_file() and path.name != "report.json"]
    assert low.byte_count == sum(path.stat().st_size for path in files)
    assert low.network_byte_count == sum(path.stat().st_size for path in (rungs / "2" / "networks").iterdir())
    assert high.network_byte_count == 0
    parts = [segment.base_stream.byte_count for segment in bundles["1/manifest.json"].segments]
    assert high.bandwidth == max(8 * parts[0] / 0.08, 8 * parts[1] / 0.08, 8 * parts[2] / 0.04)
    assert high.average_bandwidth == 8 * sum(parts) / 0.2
    assert high.mime_type == bundles["1/manifest.json"].manifest.base_stream.mime_type


def test_ladder_is_read_as_it_was_written(bundles: dict[str, Bundle]) -> None:
    ladder = make_ladder(_two(bundles))
    assert parse_ladder(ladder_bytes(ladder)) == ladder
    check_ladder(ladder, [bundles["2/manifest.json"], bundles["1/manifest.json"]])


def test_rungs_that_are_cut_at_other_frames_are_refused(bundles: dict[str, Bundle]) -> None:
    with pytest.raises(LadderError, match="their segments begin with the same frames"):
        make_ladder(bundles)


def test_rung_that_changed_is_refused(bundles: dict[str, Bundle]) -> None:
    ladder = make_ladder(_two(bundles))
    with pytest.raises(LadderError, match=r"2/manifest\.json is not the bundle that the ladder says"):
        check_ladder(ladder, [bundles["1/manifest.json"], bundles["2/manifest.json"]])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"{", b"[", "can't be read: ladder.json: Invalid JSON"),
        (b'"stdo-ladder"', b'"stdo-bundle"', "can't be read: format"),
        (b'"format_version":"1.0"', b'"format_version":"2.0"', "can't be read: format_version"),
        (b'"path":"1/', b'"path":"../1/', r"can't be read: rungs\.1\.manifest\.path"),
        (b'"1/', b'"2/', "Two rungs of the ladder are the same bundle"),
        (b'"average_bandwidth":', b'"average_bandwidth":9', "don't rise in average bandwidth"),
        (b"}]}", b"}]}" + b" " * (1 << 20), "The ladder is too long"),
    ],
)
def test_broken_ladder_is_refused(before: bytes, after: bytes, message: str, bundles: dict[str, Bundle]) -> None:
    data = ladder_bytes(make_ladder(_two(bundles)))
    assert before in data
    count = 1 if b"bandwidth" in before else -1
    with pytest.raises(LadderError, match=message):
        parse_ladder(data.replace(before, after, count))


def test_ffmpeg_plays_every_rung(bundles: dict[str, Bundle], rungs: Path) -> None:
    text = ladder_playlist(make_ladder(_two(bundles)))
    assert "RESOLUTION=32x24,FRAME-RATE=25.000\n2/base.m3u8\n" in text
    (rungs / "ladder.m3u8").write_text(text, encoding="utf-8")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-allowed_extensions", "ALL", "-i", "ladder.m3u8"]
    command += ["-map", "0:v", "-f", "framecrc", "-"]
    done = subprocess.run(command, cwd=rungs, check=True, timeout=60, capture_output=True, text=True)
    assert "#dimensions 0: 32x24" in done.stdout
    assert "#dimensions 1: 64x48" in done.stdout
    rows = [line.split(",")[0] for line in done.stdout.splitlines() if not line.startswith("#")]
    assert (rows.count("0"), rows.count("1")) == (5, 5)
