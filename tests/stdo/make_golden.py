"""Make the golden bundles anew: `python -m tests.stdo.make_golden`. Only where the format changes; the tests read them.

`expected.json` beside each manifest holds what the reference decoder restores from it. Where the networks' sums come
near a rounding tie, another machine may round otherwise: `main` stops there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

import stdo
from stdo.bundle.codecs import BitDepth
from stdo.bundle.geometry import Image, peak, sample_type
from stdo.bundle.manifest import Channels, Colour, Network, Scale
from stdo.bundle.patch_index import AS_DECODED
from stdo.decoder.frames import YuvFrame
from stdo.networks.general import general_network
from tests.stdo.bundles import CHANNEL_COUNT, convolution_network, write_small_bundle

GOLDEN = Path(__file__).with_name("golden")
GOLDEN_NAMES = (
    "rgb",
    "luma",
    "rgb-10-bit",
    "rgb-10-to-8-bit",
    "luma-8-to-10-bit",
    "scale-1",
    "yuv",
    "general",
    "no-networks",
)
LEAST_DISTANCE = 1e-3
"""Of a restored sample from a tie of its rounding, in levels. Sums in float32 err by a quarter of it at most."""
# B-frames are coded out of order, which a decoder must put right.
_H264 = {"qp": "16", "bf": "2"}
_BT601 = Colour(matrix="bt601", range="full", primaries="bt470bg", transfer="iec61966-2-1")
_PQ = Colour(matrix="bt2020", range="limited", primaries="bt2020", transfer="smpte2084")
_UNEVEN = [Fraction(tick, 12_800) for tick in (0, 512, 1100, 2048)]
_EVEN = [Fraction(number, 25) for number in range(3)]


def main() -> None:
    """Write all bundles and what they restore to."""
    shutil.rmtree(GOLDEN, ignore_errors=True)
    write_bundles(GOLDEN)
    for name in GOLDEN_NAMES:
        distance = distance_from_ties(GOLDEN / name)
        if distance < LEAST_DISTANCE:
            raise SystemExit(f"{name} comes within {distance} levels of a tie: change its size or its networks.")
        text = json.dumps(expected_frames(GOLDEN / name), indent=1)
        (GOLDEN / name / "expected.json").write_text(text + "\n", encoding="utf-8")


def write_bundles(folder: Path) -> None:
    """One bundle for each of GOLDEN_NAMES."""
    h264 = {"base_stream_options": _H264, "segment_starts": (0, 2)}
    write_small_bundle(
        folder / "rgb",
        **h264,  # type: ignore[arg-type]
        width=37,
        height=23,
        patch=(8, 5),
        halo=1,
        times=_UNEVEN,
        networks=_networks(2, "rgb", seeds=(1, 2, 3)),
        receptive_radius=1,
    )
    write_small_bundle(
        folder / "luma",
        **h264,  # type: ignore[arg-type]
        width=40,
        height=31,
        scale=3,
        channels="luma",
        patch=(6, 7),
        colour=_BT601,
        times=[Fraction(1, 2) + time for time in _EVEN],
        networks=_networks(3, "luma", seeds=(4, 5)),
        sound_seconds=0.2,
    )
    write_small_bundle(
        folder / "rgb-10-bit",
        **h264,  # type: ignore[arg-type]
        width=29,
        height=18,
        colour=_PQ,
        times=_EVEN,
        bit_depth=10,
        base_bit_depth=10,
        networks=_networks(2, "rgb", seeds=(6, 7), depths=(10, 10)),
    )
    write_small_bundle(
        folder / "rgb-10-to-8-bit",
        **h264,  # type: ignore[arg-type]
        width=30,
        height=17,
        scale=4,
        patch=(3, 4),
        times=_EVEN,
        base_bit_depth=10,
        networks=_networks(4, "rgb", seeds=(8,), depths=(10, 8)),
        numbers=_some_as_decoded(3, 6, networks=1),
    )
    write_small_bundle(
        folder / "luma-8-to-10-bit",
        **h264,  # type: ignore[arg-type]
        width=33,
        height=20,
        channels="luma",
        patch=(6, 6),
        colour=_BT601,
        times=_EVEN,
        bit_depth=10,
        networks=_networks(2, "luma", seeds=(9, 10), depths=(8, 10)),
        numbers=_some_as_decoded(3, 6, networks=2),
    )
    numbers = _some_as_decoded(3, 9, networks=2)
    numbers[1] = AS_DECODED
    write_small_bundle(
        folder / "scale-1",
        **h264,  # type: ignore[arg-type]
        width=21,
        height=17,
        scale=1,
        times=_EVEN,
        networks=_networks(1, "rgb", seeds=(11, 12)),
        numbers=numbers,
    )
    write_small_bundle(
        folder / "yuv",
        **h264,  # type: ignore[arg-type]
        width=35,
        height=22,
        channels="yuv",
        times=_EVEN,
        networks=_networks(2, "yuv", seeds=(13, 14)),
        numbers=_some_as_decoded(3, 6, networks=2),
    )
    write_small_bundle(
        folder / "general",
        **h264,  # type: ignore[arg-type]
        width=GENERAL_SIZE[0],
        height=GENERAL_SIZE[1],
        patch=(6, 4),
        halo=4,
        times=[*_EVEN[:2], Fraction(3, 25)],
        networks=[_general("espcn", 2), *_networks(2, "rgb", seeds=(15,))],
        receptive_radius=2,
    )
    write_small_bundle(
        folder / "no-networks",
        **h264,  # type: ignore[arg-type]
        width=31,
        height=22,
        times=_EVEN,
        base_bit_depth=10,
        networks=[],
    )


GENERAL_SIZE = (11, 13)
"""Of the bundle `general`: found by trying, since f0 wasn't made to keep away from ties."""


def steady_network(
    scale: int, channels: Channels, *, seed: int, depths: tuple[BitDepth, BitDepth] = (8, 8), size: int = 3
) -> bytes:
    """A network with a kernel of that size, whose output is the same on every machine.

    Before rounding it is a multiple of 1/32 level, or of 1/128 where the picture has 8 bits of the base stream's 10;
    the bias of half of that keeps it off the ties, where the last bit of a float would decide.

    Args:
        depths: of the base stream and of the picture.
    """
    count = CHANNEL_COUNT[channels]
    random = np.random.default_rng(seed)
    weights = random.integers(-2, 3, (scale * scale * count, count, size, size)).astype(np.float64)
    for output in range(len(weights)):
        source = output // (scale * scale)
        weights[output, source, size // 2, size // 2] += 32 - weights[output].sum()
    base_peak, picture_peak, shift = peak(depths[0]), peak(depths[1]), depths[1] - depths[0]
    gain = base_peak / picture_peak * 2.0**shift
    bias = 0.5 * min(1 / 32, 2.0**shift / 32) / picture_peak
    return convolution_network(
        (weights / 32 * gain).astype(np.float32), np.full(len(weights), bias, np.float32), scale=scale
    )


def _networks(
    scale: Scale, channels: Channels, *, seeds: Sequence[int], depths: tuple[BitDepth, BitDepth] = (8, 8)
) -> list[bytes | Network]:
    return [steady_network(scale, channels, seed=seed, depths=depths) for seed in seeds]


def _general(architecture: str, scale: Scale) -> Network:
    found = general_network(architecture, scale, "rgb")
    assert found is not None
    return Network(
        coding="general",
        file=None,
        general_sha256=found.sha256,
        channels="rgb",
        receptive_radius=4,
        difficulty_rank=1,
        architecture=architecture,
        precision="fp16",
        parameter_count=60_652,
        multiply_accumulates_per_base_pixel=60_480.0,
    )


def _some_as_decoded(frames: int, patches: int, *, networks: int) -> npt.NDArray[np.uint8]:
    """(frames, patches): networks in turn, and every fourth patch as decoded."""
    numbers = np.arange(frames * patches).reshape(frames, patches)
    return np.where(numbers % 4 == 1, AS_DECODED, numbers % networks).astype(np.uint8)


class _WatchedNetwork:
    """Runs a network in ONNX Runtime and notes how near its samples come to a tie."""

    def __init__(self, model: bytes, *, scale: int, channels: Channels, overhang: int) -> None:
        self._overhang = overhang  # What is cut off on each side: no tie matters there.
        self.scale = scale
        self.channels: Channels = channels
        self.distance = 0.5
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def __call__(self, patches: Image, *, base_bit_depth: BitDepth, bit_depth: BitDepth) -> Image:
        samples = patches.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(peak(base_bit_depth))
        (output,) = self._session.run(["hr"], {"lr": samples})
        levels = output.astype(np.float64).transpose(0, 2, 3, 1) * peak(bit_depth)
        kept = levels[:, self._overhang :, self._overhang :][:, : -self._overhang or None, : -self._overhang or None]
        inside = kept[(kept > 0) & (kept < peak(bit_depth))]
        self.distance = min(self.distance, float(np.abs(inside - np.floor(inside) - 0.5).min()))
        rounded: Image = np.clip(np.floor(levels + 0.5), 0, peak(bit_depth)).astype(sample_type(bit_depth))
        return rounded


def distance_from_ties(folder: Path) -> float:
    """How near any restored sample comes to a tie of its rounding, in levels; 0.5 without networks."""
    with stdo.open_bundle(folder) as bundle:
        picture = bundle.manifest.picture
        watched = []
        grid = bundle.manifest.patch_grid
        for network in bundle.manifest.networks:
            data = bundle.network_bytes(network)
            if data is None:
                known = general_network(network.architecture, picture.scale, network.channels)
                assert known is not None
                data = known.path.read_bytes()
            assert grid is not None
            halo = grid.halo // 2 if network.channels == "yuv" else grid.halo
            overhang = picture.scale * halo
            watched.append(_WatchedNetwork(data, scale=picture.scale, channels=network.channels, overhang=overhang))
        for _ in stdo.reconstruct(bundle, networks=watched):
            pass
        return min([0.5, *(network.distance for network in watched)])


def expected_frames(folder: Path) -> list[dict[str, object]]:
    """Time, hashes of R'G'B' (rows of R, G, B) and of the planes Y, U, V one after another, and the first pixels.

    Samples of 10 bits are hashed as two bytes, the lower one first.
    """
    with stdo.open_bundle(folder) as bundle:
        return [
            {
                "time": str(frame.time),
                "rgb_sha256": sha256_of(frame.rgb),
                "yuv_sha256": sha256_of(*_planes(frame.yuv)),
                "first_rgb_samples": frame.rgb[0, :4].reshape(-1).tolist(),
            }
            for frame in stdo.reconstruct(bundle)
        ]


def sha256_of(*arrays: npt.NDArray[np.uint8 | np.uint16]) -> str:
    """Of the samples of some arrays, one after another."""
    data = b"".join(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes() for array in arrays)
    return hashlib.sha256(data).hexdigest()


def _planes(frame: YuvFrame) -> tuple[npt.NDArray[np.uint8 | np.uint16], ...]:
    return frame.y, frame.u, frame.v


if __name__ == "__main__":
    main()
