from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from math import log10
from pathlib import Path

import numpy as np
import pytest

import stdo
from stdo.decoder.frames import yuv_to_rgb
from tests.clips import LOSSLESS, ClipMaker
from tests.workers.pipeline_runs import CREATED_AT, Run, encode, settings_of
from tests.workers.sources import silent
from workers import pipeline
from workers.base_stream.encode import EncodedBaseStream
from workers.errors import TooManyPatchesError
from workers.ffmpeg.program import FFmpeg
from workers.source.frames import read_source_frames
from workers.source.probe import SourceInfo, SourceLimits
from workers.training import score
from workers.training.device import DeviceUnavailableError
from workers.training.trained_network import TrainedNetwork
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
    manifest = run.manifest
    with stdo.open_bundle(run.work.bundle) as bundle:
        assert bundle.manifest == manifest
        assert [check.problem for check in bundle.verify() if check.problem] == []
    assert len(manifest.networks) == run.settings.network_count
    assert manifest.provenance.method == run.settings.method
    assert manifest.provenance.settings == run.settings.model_dump(mode="json")
    assert manifest.created_at == CREATED_AT
    quality = manifest.quality
    assert quality.restored.psnr_y is not None
    assert quality.f0.psnr_y is not None
    assert quality.bicubic.psnr_y is not None
    assert quality.restored.psnr_y > quality.bicubic.psnr_y + 0.5
    assert quality.restored.psnr_y > quality.f0.psnr_y + 0.5
    assert quality.restored.ssim_y > quality.bicubic.ssim_y
    assert quality.precision_loss.frames_measured == 2
    assert abs(quality.precision_loss.psnr_y_db) < 0.3


def test_a_device_that_is_not_there_is_found_before_anything_is_encoded(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(DeviceUnavailableError):
        pipeline.prepare(
            clip, settings_of(), tmp_path, device="cuda:99", limits=SourceLimits(), ffmpeg=FFmpeg(), report=silent
        )
    assert list(tmp_path.iterdir()) == []


def test_too_many_patches_are_refused_before_anything_is_encoded(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 12 frames of 48x40, in patches of 32x24.
    monkeypatch.setattr(score, "MOST_PATCHES", 12 * 4 - 1)
    work = WorkFolder(root=tmp_path)
    with pytest.raises(TooManyPatchesError, match=r"make 48 in all frames.*larger patches"):
        pipeline.prepare(
            clip, settings_of(), tmp_path, device="cpu", limits=SourceLimits(), ffmpeg=FFmpeg(), report=silent
        )
    assert not work.base_stream.exists()


def test_versions_are_those_of_the_machines_that_did_the_work(tmp_path: Path, stdo_run: Run) -> None:
    work = WorkFolder(root=Path(shutil.copytree(stdo_run.work.root, tmp_path / "work")))
    base_stream = EncodedBaseStream.model_validate_json(work.base_stream_info.read_bytes())
    work.base_stream_info.write_text(base_stream.model_copy(update={"ffmpeg_version": "4.0"}).model_dump_json())
    for index, torch_version in enumerate(("2.1", "2.2")):
        replace(TrainedNetwork.load(work.network(index)), torch_version=torch_version).save(work.network(index))
    manifest = pipeline.finish(
        stdo_run.source,
        stdo_run.settings,
        work.root,
        bundle_id="b2",
        created_at=CREATED_AT,
        ffmpeg=FFmpeg(),
        report=silent,
    )
    software = manifest.provenance.software
    assert (software["ffmpeg"], software["torch"]) == ("4.0", "2.1, 2.2")
    assert software["numpy"] == np.__version__


def test_the_manifests_figures_are_those_of_the_restored_frames(stdo_run: Run) -> None:
    info = SourceInfo.model_validate_json(stdo_run.work.source_info.read_bytes())
    picture = stdo_run.manifest.picture
    luma_error = rgb_error = 0.0
    sources = read_source_frames(stdo_run.source, info, picture, program=FFmpeg())
    with stdo.open_bundle(stdo_run.work.bundle) as bundle:
        for source, restored in zip(sources, stdo.reconstruct(bundle), strict=True):
            rgb = yuv_to_rgb(source, picture.colour)[:80, :96]
            luma_error += np.square(restored.luma.astype(float) - source.y[:80, :96]).mean() / 12
            rgb_error += np.square(restored.rgb.astype(float) - rgb).mean() / 12
    quality = stdo_run.manifest.quality.restored
    assert quality.psnr_y == pytest.approx(10 * log10(255**2 / luma_error))
    assert quality.psnr_rgb == pytest.approx(10 * log10(255**2 / rgb_error))


def test_the_quality_folder_holds_what_was_measured(stdo_run: Run) -> None:
    folder, manifest = stdo_run.work.bundle / "quality", stdo_run.manifest
    assert [file.path for file in manifest.quality.files] == [
        "quality/f0_heatmap.png",
        "quality/patch_errors.npz",
        "quality/report.json",
        "quality/restored_heatmap.png",
    ]
    report = json.loads((folder / "report.json").read_text())
    assert report["video"]["restored"] == manifest.quality.restored.model_dump()
    assert [segment["frame_count"] for segment in report["segments"]] == [12]
    assert report["segments"][0]["f0"] == manifest.quality.f0.model_dump()
    assert len(report["frames"]) == 12
    gains = [frame["restored"]["psnr_rgb"] - frame["f0"]["psnr_rgb"] for frame in report["frames"]]
    assert report["heatmap_frame"] == int(np.argmax(gains))
    with np.load(folder / "patch_errors.npz", allow_pickle=False) as errors:
        assert errors["f0"].shape == errors["restored"].shape == (12, 4)
        # Patches of 32x24 on 48x40: their pixels inside the picture, at twice the size.
        pixels = np.outer([48, 32], [64, 32]).ravel()
        pooled = (errors["restored"].astype(float) @ pixels).sum() / (12 * pixels.sum())
    assert 10 * log10(255**2 / pooled) == pytest.approx(manifest.quality.restored.psnr_rgb, abs=1e-4)


def test_progress_reaches_the_end_of_every_stage_in_order(stdo_run: Run) -> None:
    reports = stdo_run.reports
    assert reports.stages() == ["probe", "base_stream", "score", "groups", "train", "export", "evaluate"]
    assert reports.last("score") == (12, 12, "frames")
    assert reports.last("train") == (30, 30, "steps")
    assert reports.last("export") == (2, 2, "files")
    assert reports.last("evaluate") == (12, 12, "frames")


def test_the_same_job_gives_the_same_bytes(stdo_run: Run, tmp_path: Path) -> None:
    again = encode(stdo_run.source, tmp_path / "again", stdo_run.settings)

    def hashes(folder: Path) -> dict[str, str]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert hashes(again.work.bundle) == hashes(stdo_run.work.bundle)


def test_a_luma_network_at_another_scale_and_halo(tmp_path: Path, clip: Path) -> None:
    settings = settings_of(
        {
            "method": "awdnn",
            "scale": 3,
            "patches": {"halo": 2, "width": 16, "height": 16},
            "training": {"channels": "luma"},
            "export": {"precision": "fp32"},
        }
    )
    manifest = encode(clip, tmp_path / "luma", settings).manifest
    assert manifest.networks[0].channels == "luma"
    assert manifest.patch_grid.halo == 2
    assert (manifest.picture.base_width, manifest.picture.base_height) == (32, 28)
    assert manifest.quality.restored.psnr_y is not None
    assert manifest.quality.bicubic.psnr_y is not None
    assert manifest.quality.restored.psnr_y > manifest.quality.bicubic.psnr_y
    # Delivered as trained: nothing is lost.
    assert manifest.quality.precision_loss.psnr_y_db == 0


def test_one_single_frame_of_odd_size_with_fewer_patches_than_groups(tmp_path: Path) -> None:
    odd = "format=yuv444p,crop=61:45"
    source = ClipMaker(tmp_path).make("one.mkv", *LOSSLESS, size="64x48", frames=1, filters=odd)
    run = encode(source, tmp_path / "one", settings_of({"groups": {"count": 4}, "patches": {"width": 64}}))
    assert len(run.manifest.networks) == 1
    with stdo.open_bundle(run.work.bundle) as bundle:
        (frame,) = stdo.reconstruct(bundle)
    assert frame.rgb.shape == (45, 61, 3)
