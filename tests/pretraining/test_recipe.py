"""A few seconds of the real recipe, on photographs made for the test."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.general import load_weights
from pretraining.__main__ import main
from pretraining.evaluate import judge
from pretraining.pairs import clean_pairs
from pretraining.photographs import (
    HELD_BACK,
    PhotographsMissingError,
    load_held_back_photographs,
    load_training_photographs,
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photographs to train on and every held-back one: random discs, whose sharp edges interpolation blurs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(8)
    for name in ("budgie-backgrounds__one.jpg", "mate-backgrounds__two.jpg", *HELD_BACK):
        picture = np.full((240, 320, 3), 128, np.uint8)
        rows, columns = np.mgrid[0:240, 0:320]
        for _ in range(60):
            row, column, radius = random.integers(0, 320), random.integers(0, 320), random.integers(4, 30)
            picture[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = random.integers(0, 256, 3)
        Image.fromarray(picture).save(folder / name, quality=98)
    return folder


def test_held_back_photographs_are_never_trained_on(photos: Path) -> None:
    trained_on = {photograph.name for photograph in load_training_photographs(photos)}
    assert trained_on == {"budgie-backgrounds__one.jpg", "mate-backgrounds__two.jpg"}
    assert {photograph.name for photograph in load_held_back_photographs(photos)} == set(HELD_BACK)


def test_missing_photographs_are_named(photos: Path, tmp_path: Path) -> None:
    (photos / HELD_BACK[2]).unlink()
    with pytest.raises(PhotographsMissingError, match=HELD_BACK[2]):
        load_held_back_photographs(photos)
    with pytest.raises(PhotographsMissingError, match=r"no <package>__<name>\.jpg"):
        load_training_photographs(tmp_path)


def test_training_lowers_the_loss_and_is_reported(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "weights"
    options = ["--photos", str(photos), "--output", str(output), "--architecture", "espcn", "--scale", "2"]
    caplog.set_level(logging.INFO)

    main([*options, "--minutes", "0.001"])
    held_back = list(clean_pairs(load_held_back_photographs(photos), scale=2))
    weights = output / "espcn_x2.safetensors"
    untrained = judge(load_weights(weights, architecture="espcn", scale=2), held_back, scale=2).y.pooled
    main([*options, "--minutes", "0.3", "--refine"])
    trained = judge(load_weights(weights, architecture="espcn", scale=2), held_back, scale=2).y.pooled

    assert trained > untrained + 0.5
    assert re.search(r"espcn x2: finished after \d\d+ steps", caplog.text)

    main(["evaluate", "--photos", str(photos), "--output", str(output)])
    rows = [line for line in capsys.readouterr().out.splitlines() if "| espcn |" in line]
    assert [row.split("|")[2].strip() for row in rows] == ["clean", "H.264 CRF 18", "H.264 CRF 23", "H.264 CRF 28"]


def test_other_scales_start_from_the_x2_network(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    main(["--photos", str(photos), "--output", str(tmp_path), "--architecture", "wdsr-small", "--minutes", "0.01"])
    assert "wdsr-small x4 starts from the x2 network" in caplog.text
    assert "wdsr-small x3 starts from the x2 network" in caplog.text
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        f"wdsr-small_x{scale}.safetensors" for scale in (2, 3, 4)
    ]
