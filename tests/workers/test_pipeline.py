from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stdo
from stdo.bundle.geometry import peak
from stdo.decoder.frames import YuvFrame, yuv_to_rgb
from stdo.quality.patch_errors import decibels, decode_patch_errors
from tests.clips import LOSSLESS, ClipMaker
from tests.workers.pipeline_runs import CREATED_AT, Job, Run, encode, settings_of
from workers.base_stream import patch_limits
from workers.base_stream.encode import EncodedBaseStream
from workers.errors import TooManyPatchesError
from workers.source.frames import read_source_frames
from workers.source.probe import SourceInfo
from workers.training.device import DeviceUnavailableError
from workers.training.trained_network import TrainedNetworks
from workers.work_folder import WorkFolder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ClipMaker(tmp_path_factory.mktemp("clips")).plain


@pytest.fixture(scope="module")
def stdo_run(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Run:
    return encode(clip, tmp_path_factory.mktemp("runs") / "stdo", settings_of())


@pytest.fixture(scope="module", params=["stdo", "jstdo", "nas", "awdnn"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clip: Path, stdo_run: Run) -> Run:
    if request.param == "stdo":
        return stdo_run
    return encode(clip, tmp_path_factory.mktemp("runs") / request.param, settings_of({"method": request.param}))


def test_a_bundle_opens_verifies_and_beats_what_it_is_compared_with(run: Run) -> None:
    manifest, settings = run.manifest, run.job.settings
    with stdo.open_bundle(run.bundle) as bundle:
        assert bundle.manifest == manifest
        assert [check.problem for check in bundle.verify()] == [None] * len(manifest.all_files())
    assert len(manifest.networks) == (2 if settings.method in ("stdo", "nas") else 1)
    assert sorted(network.difficulty_rank for network in manifest.networks) == list(range(len(manifest.networks)))
    assert {(network.coding, network.receptive_radius) for network in manifest.networks} == {("onnx", 4)}
    assert manifest.created_at == CREATED_AT
    provenance, quality = manifest.provenance, manifest.quality
    assert provenance is not None
    assert (provenance.method, provenance.settings) == (settings.method, settings.model_dump(mode="json"))
    assert quality is not None
    assert quality.restored.psnr_y is not None
    assert quality.f0.psnr_y is not None
    assert quality.bicubic.psnr_y is not None
    assert quality.restored.psnr_y > quality.bicubic.psnr_y + 0.5
    assert quality.restored.psnr_y > quality.f0.psnr_y + 0.5
    assert quality.restored.ssim_y > quality.bicubic.ssim_y
    assert quality.precision_loss is not None
    assert quality.precision_loss.frames_measured == 2
    assert abs(quality.precision_loss.psnr_y_db) < 0.3


def test_a_device_that_is_not_there_is_found_before_anything_is_scored(tmp_path: Path, clip: Path) -> None:
    job = Job(source=clip, settings=settings_of(), work=WorkFolder(root=tmp_path / "absent"))
    with pytest.raises(DeviceUnavailableError):
        job.plan(device="cuda:99")


def test_too_many_patches_are_refused_before_anything_is_encoded(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 12 frames of 48x40, in patches of 32x24.
    monkeypatch.setattr(patch_limits, "MOST_PATCHES", 12 * 4 - 1)
    job = Job(source=clip, settings=settings_of(), work=WorkFolder(root=tmp_path))
    job.probe()
    with pytest.raises(TooManyPatchesError, match=r"make 48 in all frames.*larger patches"):
        job.encode()
    assert not job.work.base_stream.exists()


def test_versions_are_those_of_the_machines_that_did_the_work(tmp_path: Path, clip: Path) -> None:
    settings = settings_of({"training": {"steps": 4, "split_over": 2}})
    job = encode(clip, tmp_path / "work", settings).job
    base_stream = EncodedBaseStream.model_validate_json(job.work.base_stream_info.read_bytes())
    job.work.base_stream_info.write_text(base_stream.model_copy(update={"ffmpeg_version": "4.0"}).model_dump_json())
    for training, torch_version in enumerate(("2.1", "2.2")):
        path = job.work.training(training)
        networks = TrainedNetworks.load(path).networks
        TrainedNetworks(
            networks={number: replace(network, torch_version=torch_version) for number, network in networks.items()}
        ).save(path)
    manifest = job.finish()
    assert manifest.provenance is not None
    software = manifest.provenance.software
    assert (software["ffmpeg"], software["torch"]) == ("4.0", "2.1, 2.2")
    assert software["numpy"] == np.__version__


def test_reports_hold_what_was_measured(stdo_run: Run) -> None:
    manifest = stdo_run.manifest
    assert manifest.quality is not None
    assert [file.path for file in manifest.quality.files] == ["quality/report.json", "quality/patch_errors.bin"]
    report = json.loads((stdo_run.bundle / "quality/report.json").read_text())
    assert report["video"]["restored"] == manifest.quality.restored.model_dump()
    assert report["video"]["f0"] == manifest.quality.f0.model_dump()
    assert [segment["frames_measured"] for segment in report["segments"]] == [12]
    assert report["segments"][0]["lanczos"] == manifest.quality.lanczos.model_dump()
    data = (stdo_run.bundle / "quality/patch_errors.bin").read_bytes()
    (segment,) = decode_patch_errors(data, frames_measured=12, patch_count=4)
    # Patches of 32x24 on 48x40: their pixels inside the picture, at twice the size.
    pixels = np.outer([48, 32], [64, 32]).ravel()
    for patches, figures in ((segment.restored, manifest.quality.restored), (segment.f0, manifest.quality.f0)):
        pooled = (10 ** (-decibels(patches) / 10) @ pixels).sum() / (12 * pixels.sum())
        # Each was rounded down to a quarter of a dB.
        assert figures.psnr_rgb is not None
        assert -0.25 <= -10 * log10(pooled) - figures.psnr_rgb <= 0


def test_progress_reaches_the_end_of_every_stage_in_order(stdo_run: Run) -> None:
    reports = stdo_run.job.reports
    assert reports.stages() == ["probe", "encode", "score", "group", "train", "export", "measure"]
    assert reports.last("score") == (12, 12, "frames")
    assert reports.last("train") == (60, 60, "steps")
    assert reports.last("export") == (2, 2, "files")
    assert reports.last("measure") == (12, 12, "frames")


def test_the_same_job_gives_the_same_bytes(stdo_run: Run, tmp_path: Path) -> None:
    again = encode(stdo_run.job.source, tmp_path / "again", stdo_run.job.settings)
    assert _hashes(again.bundle) == _hashes(stdo_run.bundle)


def test_finishing_again_leaves_nothing_of_the_first_try(stdo_run: Run, tmp_path: Path) -> None:
    work = WorkFolder(root=Path(shutil.copytree(stdo_run.job.work.root, tmp_path / "work")))
    (work.bundle / "networks" / "7.onnx").write_bytes(b"left behind")
    (work.bundle / "manifest.json").unlink()
    replace(stdo_run.job, work=work).finish()
    assert _hashes(work.bundle) == _hashes(stdo_run.bundle)


VARIANTS: Mapping[str, dict[str, Any]] = {
    "scale 1": {"scale": 1, "base_stream": {"crf": 35}},
    "scale 1, luma": {"scale": 1, "base_stream": {"crf": 35}, "training": {"channels": "luma"}},
    "scale 3, luma, halo 2, fp32": {
        "scale": 3,
        "patches": {"halo": 2, "width": 16, "height": 16},
        "training": {"channels": "luma"},
        "export": {"precision": "fp32"},
    },
    "scale 4, fp16": {"scale": 4, "patches": {"width": 16, "height": 10}, "export": {"precision": "fp16"}},
    "several trainings": {"training": {"split_over": 2}},
    "hevc": {"base_stream": {"codec": "hevc", "crf": 10, "speed": "fast"}},
    "av1, 10 bits": {"base_stream": {"codec": "av1", "crf": 12, "speed": "fast"}},
    "vvc": {"base_stream": {"codec": "vvc", "crf": 12, "speed": "fast"}},
    "wdsr-small": {"general_network": "wdsr-small", "training": {"architecture": "wdsr-small", "steps": 4}},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_measures_what_a_client_restores(name: str, tmp_path: Path) -> None:
    clip = ClipMaker(tmp_path).make("short.mp4", frames=4)
    _check_figures(encode(clip, tmp_path / "work", settings_of({"training": {"steps": 4}}, VARIANTS[name])))


@pytest.mark.parametrize(("codec", "base_bit_depth"), [("h264", 8), ("hevc", 10), ("av1", 10), ("vvc", 10)])
def test_a_source_of_ten_bits_stays_one(codec: str, base_bit_depth: int, tmp_path: Path) -> None:
    ten_bits = (*LOSSLESS, "-pix_fmt", "yuv420p10le")
    clip = ClipMaker(tmp_path).make("ten.mkv", *ten_bits, size="128x96", frames=4, picture="gradients=speed=0.05")
    settings = settings_of({"training": {"steps": 8}, "base_stream": {"codec": codec, "crf": 12, "speed": "fast"}})
    run = encode(clip, tmp_path / "work", settings)
    assert (run.manifest.picture.bit_depth, run.manifest.base_stream.bit_depth) == (10, base_bit_depth)
    _check_figures(run)


def test_of_a_long_video_an_even_sample_is_measured(tmp_path: Path) -> None:
    clip = ClipMaker(tmp_path).make("long.mkv", *LOSSLESS, frames=50)
    settings = settings_of(
        {"training": {"steps": 8}, "base_stream": {"segment_seconds": 0.5}, "measure": {"max_frames": 3}}
    )
    run = encode(clip, tmp_path / "work", settings)
    quality = run.manifest.quality
    assert quality is not None
    assert quality.frames_measured == 3
    _check_figures(run, measured=[0, 16, 33])
    report = json.loads((run.bundle / "quality/report.json").read_text())
    with stdo.open_bundle(run.bundle) as bundle:
        starts = [segment.first_frame for segment in bundle.segments]
    measured = {max(start for start in starts if start <= frame) for frame in (0, 16, 33)}
    assert [segment["first_frame"] for segment in report["segments"]] == sorted(measured)
    assert len(starts) > len(measured)


def test_one_single_frame_of_odd_size_with_fewer_patches_than_groups(tmp_path: Path) -> None:
    odd = "format=yuv444p,crop=61:45"
    source = ClipMaker(tmp_path).make("one.mkv", *LOSSLESS, size="64x48", frames=1, filters=odd)
    run = encode(source, tmp_path / "one", settings_of({"groups": {"count": 4}, "patches": {"width": 64}}))
    assert len(run.manifest.networks) == 1
    with stdo.open_bundle(run.bundle) as bundle:
        (frame,) = stdo.reconstruct(bundle)
    assert frame.rgb.shape == (45, 61, 3)


def _check_figures(run: Run, measured: list[int] | None = None) -> None:
    """The manifest's figures, computed anew from what the public decoder restores of the bundle."""
    picture, quality = run.manifest.picture, run.manifest.quality
    assert quality is not None
    frames = range(picture.frame_count) if measured is None else measured
    luma_errors, rgb_errors = [], []
    with stdo.open_bundle(run.bundle) as bundle:
        assert [check.problem for check in bundle.verify() if check.problem] == []
        for number, (source, restored) in enumerate(zip(_sources(run), stdo.reconstruct(bundle), strict=True)):
            if number in frames:
                shown = source.cropped(width=picture.display_width, height=picture.display_height)
                luma_errors.append(np.square(restored.luma.astype(float) - shown.y).mean())
                rgb = yuv_to_rgb(shown, picture.colour).astype(float)
                rgb_errors.append(np.square(restored.rgb.astype(float) - rgb).mean())
    highest = peak(picture.bit_depth)
    assert quality.bit_depth == picture.bit_depth
    assert quality.restored.psnr_y == pytest.approx(10 * log10(highest**2 / np.mean(luma_errors)))
    assert quality.restored.psnr_rgb == pytest.approx(10 * log10(highest**2 / np.mean(rgb_errors)))
    precision_loss = quality.precision_loss
    assert precision_loss is not None
    if run.job.settings.export.precision == "fp32":
        # Delivered as trained: nothing is lost.
        assert (precision_loss.psnr_y_db, precision_loss.psnr_rgb_db) == (0, 0)


def _sources(run: Run) -> list[YuvFrame]:
    info = SourceInfo.load(run.job.work.root)
    return list(read_source_frames(run.job.source, info, run.manifest.picture, program=run.job.ffmpeg))


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
