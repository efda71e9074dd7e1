from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from demo.errors import DemoError
from demo.report import Stopwatch, all_seconds, check_figures, print_tables, write_report
from demo.restoration import Comparison, Crop, Restoration
from stdo.bundle.bundle import open_bundle
from stdo.bundle.manifest import Manifest, Normalisation
from stdo.decoder.restored_frame import RestoredFrame
from tests.stdo.bundles import BT709, write_small_bundle
from tests.stdo.service.scripted_service import make_job


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def manifest(bundle_folder: Path) -> Manifest:
    with open_bundle(bundle_folder) as bundle:
        return bundle.manifest


def test_a_figure_that_can_not_be_reproduced_is_an_error(manifest: Manifest) -> None:
    promised = _with_luma_psnr(manifest, 40.0)
    assert "40.01 dB" in check_figures(promised, _restoration(40.009)).sentence
    for wrong in (39.98, 40.02, None):
        with pytest.raises(DemoError, match=r"figures are wrong.*the manifest says 40\.00 dB"):
            check_figures(promised, _restoration(wrong))
    assert check_figures(_with_luma_psnr(manifest, None), _restoration(None)).psnr_y_measured is None
    with pytest.raises(DemoError, match="figures are wrong"):
        check_figures(_with_luma_psnr(manifest, None), _restoration(90.0))
    with pytest.raises(DemoError, match="4 frames of 5"):
        check_figures(promised, _restoration(40.0, frame_count=4))


def test_who_read_the_source_is_told(manifest: Manifest) -> None:
    promised = _with_luma_psnr(manifest, 40.0)
    for code, decoder in (("colour_assumed", "PyAV"), ("rotation_applied", "the encoder's own normalisation")):
        notes = (Normalisation(code=code, detail=""),)
        assert promised.source is not None
        source = promised.source.model_copy(update={"input_normalisations": notes})
        check = check_figures(promised.model_copy(update={"source": source}), _restoration(40.0))
        assert check.source_decoder == decoder


def test_the_report_holds_what_was_measured(bundle_folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    job = make_job("succeeded", settings={"scale": 2}, stage_seconds={"train": 12.3456, "score": 1.0})
    watch = Stopwatch(seconds={"upload": 0.5, "job": 20.0, "restore": 3.0})
    seconds = all_seconds(job, watch)
    assert seconds["train"] == 12.346
    assert {"upload", "restore", "job", "score", "total"} <= set(seconds)
    check = check_figures(_with_luma_psnr(manifest, 40.0), _restoration(40.0))
    with open_bundle(bundle_folder) as bundle:
        write_report(tmp_path / "report.json", bundle, job, video=Path("clip.mp4"), seconds=seconds, check=check)
        console = Console(record=True, width=100)
        print_tables(bundle, seconds=seconds, console=console)
    report = json.loads((tmp_path / "report.json").read_text())
    parts = report["bytes"]
    assert set(parts) == {"base_stream", "networks", "patch_index", "tables", "manifest", "total"}
    assert parts["total"] == sum(count for part, count in parts.items() if part != "total")
    assert report["kbit_per_second"]["total"] == pytest.approx(parts["total"] * 8 / 1000 / (5 / 25), abs=0.01)
    assert {(name, "psnr_y" in figures, "psnr_rgb" in figures) for name, figures in report["quality"].items()} == {
        (name, True, True) for name in ("bicubic", "lanczos", "f0", "restored")
    }
    assert report["settings"] == {"scale": 2}
    assert report["check"] == {"psnr_y_manifest": 40.0, "psnr_y_measured": 40.0, "source_decoder": "PyAV"}
    shown = console.export_text()
    for words in ("patch index", f"{parts['total']:,}", "Train the networks", "12.3", "restored", "PSNR RGB"):
        assert words in shown


def _with_luma_psnr(manifest: Manifest, figure: float | None) -> Manifest:
    assert manifest.quality is not None
    restored = manifest.quality.restored.model_copy(update={"psnr_y": figure})
    return manifest.model_copy(update={"quality": manifest.quality.model_copy(update={"restored": restored})})


def _restoration(luma_psnr: float | None, *, frame_count: int = 5) -> Restoration:
    view = RestoredFrame(time=Fraction(0), colour=BT709, bit_depth=8, restored_rgb=np.zeros((4, 6, 3), np.uint8))
    crop = Crop(left=0, top=0, width=1, height=1)
    comparison = Comparison(frame_number=0, crop=crop, source=view, bicubic=view, restored=view)
    return Restoration(frame_count=frame_count, luma_psnr=luma_psnr, comparison=comparison)
