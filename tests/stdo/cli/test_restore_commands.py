from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from stdo.bundle.bundle import open_bundle
from stdo.cli import restore_commands
from stdo.decoder.reconstruction import reconstruct
from stdo.networks.codings import RunOptions
from stdo.quality.patch_errors import PATCH_ERRORS_NAME, MeasuredSegment, encode_measured_segment
from tests.stdo.bundles import write_small_bundle
from tests.stdo.cli.running import RunStdo, run_stdo_process
from tests.stdo.service.scripted_service import ScriptedService


def test_reconstruct_writes_a_video(stdo: RunStdo, bundle_folder: Path, tmp_path: Path) -> None:
    result = stdo("reconstruct", bundle_folder, "-o", tmp_path / "out.mp4", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["frames"] == 5
    assert result.err == ""
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert (video.streams.video[0].width, video.streams.video[0].height) == (46, 30)
        assert len(video.streams.audio) == 1
        assert sum(1 for _ in video.decode(video=0)) == 5


def test_reconstruct_writes_frames(stdo: RunStdo, bundle_folder: Path, tmp_path: Path) -> None:
    result = stdo("reconstruct", bundle_folder, "-o", f"{tmp_path}/frames/", "--frames", "1:3")
    assert result.code == 0, result.err
    assert "2/2 frames" in result.err
    assert [path.name for path in sorted((tmp_path / "frames").iterdir())] == ["000001.png", "000002.png"]
    with open_bundle(bundle_folder) as bundle:
        for number, frame in enumerate(reconstruct(bundle, frames=(1, 3)), start=1):
            written = np.asarray(Image.open(tmp_path / "frames" / f"{number:06d}.png"))
            np.testing.assert_array_equal(written, frame.rgb)


def test_reconstruct_writes_raw_frames_to_a_pipe(bundle_folder: Path) -> None:
    result = run_stdo_process("reconstruct", str(bundle_folder), "-o", "-", "--frames", "2:")
    assert result.returncode == 0, result.stderr
    with open_bundle(bundle_folder) as bundle:
        planes = [
            plane.tobytes()
            for frame in reconstruct(bundle, frames=(2, 5))
            for plane in (frame.yuv.y, frame.yuv.u, frame.yuv.v)
        ]
    assert result.stdout == b"".join(planes)


def test_a_reader_that_goes_away_is_no_error(bundle_folder: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = run_stdo_process("reconstruct", str(bundle_folder), "-o", "-", stdout=write_end)
    os.close(write_end)
    assert result.returncode == 141
    assert b"Traceback" not in result.stderr
    assert b"error" not in result.stderr


@pytest.mark.parametrize("arguments", [("reconstruct", "-o", "-"), ("info",), ("info", "--json")])
def test_a_full_disk_is_told_in_a_sentence(arguments: tuple[str, ...], bundle_folder: Path) -> None:
    command, *options = arguments
    with Path("/dev/full").open("wb") as full:
        result = run_stdo_process(command, str(bundle_folder), *options, stdout=full)
    assert result.returncode == 1
    assert b"Standard output can't be written: No space left on device." in result.stderr
    assert b"Traceback" not in result.stderr
    assert b"Exception" not in result.stderr


def test_outputs_and_frames_that_can_not_be(stdo: RunStdo, bundle_folder: Path, tmp_path: Path) -> None:
    for options, message in (
        (("-o", tmp_path / "out.webm"), "ends in .mp4"),
        (("-o", "-", "--json"), "standard output for themselves"),
        (("-o", tmp_path / "out.mp4", "--frames", "3"), "write A:B"),
        (("-o", tmp_path / "out.mp4", "--frames", "a:b"), "write A:B"),
        (("-o", tmp_path / "out.mp4", "--frames", "-1:3"), "write A:B"),
        (("-o", tmp_path / "out.mp4", "--frames", "0:" + 5000 * "9"), "write A:B"),
        (("-o", tmp_path / "out.mp4", "--frames", "4:4"), "are not in this video"),
        (("-o", tmp_path / "out.mp4", "--frames", "0:6"), "it has frames 0:5"),
        ((), "Missing option"),
    ):
        result = stdo("reconstruct", bundle_folder, *options)
        assert result.code == 2, (options, result.err)
        assert message in result.err.replace("\n", " ")
    assert not list(tmp_path.iterdir())
    absent = stdo("reconstruct", bundle_folder, "-o", tmp_path / "absent" / "out.mp4")
    assert absent.code == 1
    assert "can't be written" in absent.err


def test_nothing_but_frames_reaches_standard_output(bundle_folder: Path) -> None:
    noisy = """
import os
import stdo.networks.upscale as module

class NoisyUpscaler(module.OnnxUpscaler):
    def __call__(self, *arguments, **options):
        os.write(1, b"noise of a native library")
        return super().__call__(*arguments, **options)

module.OnnxUpscaler = NoisyUpscaler
"""
    quiet = run_stdo_process("reconstruct", str(bundle_folder), "-o", "-")
    result = run_stdo_process("reconstruct", str(bundle_folder), "-o", "-", before=noisy)
    assert result.returncode == 0, result.stderr
    assert b"noise of a native library" in result.stderr
    assert len(quiet.stdout) == 5 * (45 * 29 + 2 * 23 * 15)
    assert result.stdout == quiet.stdout
    checked = run_stdo_process("verify", str(bundle_folder), "--deep", "--json", before=noisy)
    assert json.loads(checked.stdout)["ok"]
    assert b"noise of a native library" in checked.stderr


def test_networks_run_on_the_providers_and_threads_asked_for(
    stdo: RunStdo, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[RunOptions | None] = []

    def noted(*arguments: Any, run: RunOptions | None = None, **options: Any) -> Any:
        runs.append(run)
        return reconstruct(*arguments, run=run, **options)

    monkeypatch.setattr(restore_commands, "restored_frames", noted)
    output = ("-o", f"{tmp_path}/frames/", "--frames", "0:1")
    assert stdo("reconstruct", bundle_folder, *output, "--threads", 2).code == 0
    assert stdo("reconstruct", bundle_folder, *output, "--providers", " CPUExecutionProvider").code == 0
    assert runs == [
        RunOptions(threads=2, providers=("CPUExecutionProvider",)),
        RunOptions(threads=0, providers=("CPUExecutionProvider",)),
    ]
    unknown = stdo("reconstruct", bundle_folder, *output, "--providers", "gpu")
    assert (unknown.code, "gpu is none of" in unknown.err.replace("\n", " ")) == (2, True)
    absent = stdo("reconstruct", bundle_folder, *output, "--providers", "cuda,cpu")
    assert (absent.code, "has no CUDAExecutionProvider" in absent.err.replace("\n", " ")) == (1, True)


def test_a_bundle_behind_a_url_is_restored_from_its_first_segment_on(
    stdo: RunStdo, service: ScriptedService, bundle_folder: Path, tmp_path: Path
) -> None:
    service.bundle_folder = bundle_folder
    url = f"{service.url}/v1/jobs/j1/bundle/manifest.json"
    result = stdo("reconstruct", url, "-o", f"{tmp_path}/frames/", "--frames", "0:1")
    assert result.code == 0, result.err
    with open_bundle(bundle_folder) as bundle:
        end = bundle.segments[0].base_stream.end
    asked = service.requests("GET", "/v1/jobs/j1/bundle/base.mp4")
    assert asked
    assert all(int(one.headers["range"].rpartition("-")[2]) < end for one in asked)


def test_what_breaks_later_is_told_after_the_frames_before_it(
    stdo: RunStdo, bundle_folder: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle_folder, damaged)
    data = bytearray((damaged / "base.mp4").read_bytes())
    data[-1] ^= 1
    (damaged / "base.mp4").write_bytes(data)
    result = stdo("reconstruct", damaged, "-o", f"{tmp_path}/frames/")
    assert result.code == 1
    assert "base.mp4 differs" in result.err
    assert len(list((tmp_path / "frames").iterdir())) == 4
    assert "shows after frames were written" in " ".join(stdo("reconstruct", "--help").out.split())


def test_a_heatmap_of_the_frame_that_gains_most(stdo: RunStdo, measured_bundle: Path, tmp_path: Path) -> None:
    result = stdo("heatmap", measured_bundle, "-o", tmp_path / "map.png", "--json")
    assert json.loads(result.out) == {"output": str(tmp_path / "map.png"), "frame": 2}
    picture = np.asarray(Image.open(tmp_path / "map.png")).astype(int)
    panel_height = round(29 * 480 / 45)
    assert picture.shape == (panel_height + 2 * 16 + 4 * 28 + 18, 2 * 480 + 3 * 16, 3)
    panels = picture[72 : 72 + panel_height]
    f0, restored = panels[:, 16 : 16 + 480], panels[:, 2 * 16 + 480 : 2 * 16 + 960]
    # f0 has the lowest figure, 20 dB and violet; what was restored 40 dB, the highest, and yellow.
    np.testing.assert_array_less(f0[..., 1], f0[..., 2] + 60)
    assert (restored[..., 1] - restored[..., 2]).min() > 100
    assert (f0[..., 1] - f0[..., 2]).max() < 0


def test_a_heatmap_of_a_frame(stdo: RunStdo, measured_bundle: Path, bundle_folder: Path, tmp_path: Path) -> None:
    for wanted, drawn in ((0, 0), (1, 0), (2, 2), (4, 2)):
        result = stdo("heatmap", measured_bundle, "-o", tmp_path / "map.png", "--frame", wanted)
        assert result.out.startswith(f"Frame {drawn} is in ")
    beyond = stdo("heatmap", measured_bundle, "-o", tmp_path / "map.png", "--frame", 5)
    assert (beyond.code, "frames 0 to 4" in beyond.err) == (2, True)
    unmeasured = shutil.copytree(measured_bundle, tmp_path / "unmeasured")
    manifest = json.loads((unmeasured / "manifest.json").read_text())
    (unmeasured / PATCH_ERRORS_NAME).write_bytes(b"")
    manifest["quality"]["frames_measured"] = 0
    manifest["quality"]["files"][0] |= {"byte_count": 0, "sha256": hashlib.sha256().hexdigest()}
    (unmeasured / "manifest.json").write_text(json.dumps(manifest))
    for options in ((), ("--frame", 1)):
        nothing = stdo("heatmap", unmeasured, "-o", tmp_path / "map.png", *options)
        assert (nothing.code, "no frame of it was measured" in nothing.err) == (2, True)
    none = stdo("heatmap", bundle_folder, "-o", tmp_path / "map.png")
    assert (none.code, "has no patch errors" in none.err) == (2, True)
    nowhere = stdo("heatmap", measured_bundle, "-o", tmp_path / "absent" / "map.png")
    assert (nowhere.code, "can't be written" in nowhere.err) == (2, True)


@pytest.fixture(scope="module")
def measured_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames 0 and 2 of five were measured: 0 gains nothing, 2 gains 20 dB everywhere."""
    folder = write_small_bundle(tmp_path_factory.mktemp("measured"))
    manifest = json.loads((folder / "manifest.json").read_text())
    patches = manifest["patch_grid"]["rows"] * manifest["patch_grid"]["columns"]
    segments = [
        MeasuredSegment(
            first_measured=place,
            f0=np.full((1, patches), 80, np.uint8),
            restored=np.full((1, patches), restored, np.uint8),
        )
        for place, restored in enumerate((80, 160))
    ]
    data = b"".join(encode_measured_segment(segment) for segment in segments)
    (folder / PATCH_ERRORS_NAME).write_bytes(data)
    entry = {"path": PATCH_ERRORS_NAME, "byte_count": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["quality"] |= {"frames_measured": 2, "files": [entry]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
