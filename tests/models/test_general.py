"""The shipped general networks are good: what a broken weights file, or a changed network, would not pass."""

import hashlib
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn

import models.general
from models.channels import Channels, channel_count
from models.general import (
    GENERAL_NETWORK_HALO,
    GENERAL_NETWORKS,
    NoGeneralNetworkError,
    general_network_sha256,
    load_general_network,
    load_weights,
    save_weights,
)
from models.registry import ARCHITECTURES, build_network

PHOTOS = Path(__file__).parent / "photos"
WEIGHTS = Path(models.general.__file__).parent / "weights"

# Gain over bicubic in dB of pooled Y-PSNR on the four crops, as measured when the weights were made.
MEASURED_GAINS = {
    ("espcn", 2): 1.58,
    ("espcn", 3): 1.33,
    ("espcn", 4): 1.25,
    ("wdsr-small", 2): 1.75,
    ("wdsr-small", 3): 1.47,
    ("wdsr-small", 4): 1.44,
}

Picture = npt.NDArray[np.uint8]


def _photographs() -> list[Picture]:
    return [np.asarray(Image.open(path).convert("RGB")) for path in sorted(PHOTOS.glob("*.png"))]


def _reduced(picture: Picture, scale: int) -> Picture:
    size = (picture.shape[1] // scale, picture.shape[0] // scale)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _bicubic(picture: Picture, scale: int) -> Picture:
    size = (picture.shape[1] * scale, picture.shape[0] * scale)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _restored(network: nn.Module, picture: Picture, scale: int) -> Picture:
    """As the bundle format has it: edges replicated by a halo, and its overhang cut off."""
    extended = np.pad(picture, (*[(GENERAL_NETWORK_HALO, GENERAL_NETWORK_HALO)] * 2, (0, 0)), mode="edge")
    with torch.inference_mode():
        restored = network(torch.from_numpy(extended).permute(2, 0, 1)[None].float() / 255)
    overhang = GENERAL_NETWORK_HALO * scale
    return (
        (restored[0, :, overhang:-overhang, overhang:-overhang] * 255)
        .round()
        .clamp(0, 255)
        .byte()
        .permute(1, 2, 0)
        .numpy()
    )


def _luma(picture: Picture) -> npt.NDArray[np.float64]:
    return np.rint(16 + 219 / 255 * (picture @ np.array([0.2126, 0.7152, 0.0722])))


def _pooled_psnr(pictures: list[Picture], references: list[Picture]) -> float:
    errors = [np.square(_luma(a) - _luma(b)).mean() for a, b in zip(pictures, references, strict=True)]
    return 10 * math.log10(255**2 / (sum(errors) / len(errors)))


def test_every_listed_network_is_judged() -> None:
    assert set(MEASURED_GAINS) == set(GENERAL_NETWORKS)
    assert {path.name for path in WEIGHTS.glob("*.safetensors")} == {
        f"{architecture}_x{scale}.safetensors" for architecture, scale in GENERAL_NETWORKS
    }


@pytest.mark.parametrize(("architecture", "scale"), GENERAL_NETWORKS)
def test_general_network_beats_bicubic_on_held_back_photographs(architecture: str, scale: int) -> None:
    network = load_general_network(architecture, scale=scale, channels="rgb")
    references = _photographs()
    low_res = [_reduced(reference, scale) for reference in references]
    bicubic = _pooled_psnr([_bicubic(picture, scale) for picture in low_res], references)
    restored = _pooled_psnr([_restored(network, picture, scale) for picture in low_res], references)
    assert restored - bicubic == pytest.approx(MEASURED_GAINS[architecture, scale], abs=0.2)


@pytest.mark.parametrize(("architecture", "scale"), GENERAL_NETWORKS)
def test_general_network_beats_bicubic_on_every_photograph_also_where_it_is_flat(architecture: str, scale: int) -> None:
    network = load_general_network(architecture, scale=scale, channels="rgb")
    for reference in _photographs():
        low_res = _reduced(reference, scale)
        bicubic = _pooled_psnr([_bicubic(low_res, scale)], [reference])
        assert _pooled_psnr([_restored(network, low_res, scale)], [reference]) > bicubic


@pytest.mark.parametrize(("architecture", "scale"), GENERAL_NETWORKS)
def test_luma_form_restores_a_grey_picture_like_the_rgb_form(architecture: str, scale: int) -> None:
    rgb = load_general_network(architecture, scale=scale, channels="rgb")
    luma = load_general_network(architecture, scale=scale, channels="luma")
    grey = torch.from_numpy(_luma(_photographs()[2])[::scale, ::scale] / 255).float()[None, None]
    with torch.inference_mode():
        colours = rgb(grey.expand(1, 3, -1, -1))
        expected = torch.einsum("c,bchw->bhw", torch.tensor([0.2126, 0.7152, 0.0722]), colours)
        torch.testing.assert_close(luma(grey)[:, 0], expected, atol=1e-5, rtol=1e-5)


def test_networks_come_ready_for_inference() -> None:
    network = load_general_network("wdsr-small", scale=2, channels="luma")
    assert not network.training
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_sha256_names_the_file() -> None:
    expected = hashlib.sha256((WEIGHTS / "espcn_x2.safetensors").read_bytes()).hexdigest()
    assert general_network_sha256("espcn", 2) == expected


def test_saved_weights_load_again(tmp_path: Path) -> None:
    network = build_network("espcn", scale=3, channels="rgb")
    save_weights(network, tmp_path / "espcn_x3.safetensors")
    loaded = load_weights(tmp_path / "espcn_x3.safetensors", architecture="espcn", scale=3)
    assert [path.name for path in tmp_path.iterdir()] == ["espcn_x3.safetensors"]
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("channels", ["rgb", "luma"])
@pytest.mark.parametrize("architecture", [known.name for known in ARCHITECTURES])
def test_at_scale_1_the_general_network_gives_what_it_gets(architecture: str, channels: Channels) -> None:
    network = load_general_network(architecture, scale=1, channels=channels)
    picture = torch.rand(2, channel_count(channels), 12, 14)
    with torch.inference_mode():
        assert torch.equal(network(picture), picture)
    again = load_general_network(architecture, scale=1, channels=channels).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in network.state_dict().items())
    assert general_network_sha256(architecture, 1) == general_network_sha256(architecture, 1)


def test_missing_network_is_named_with_those_there_are() -> None:
    with pytest.raises(NoGeneralNetworkError, match=r"edsr x2.*espcn x2"):
        load_general_network("edsr", scale=2, channels="rgb")
    with pytest.raises(NoGeneralNetworkError, match=r"srcnn x3"):
        general_network_sha256("srcnn", 3)
