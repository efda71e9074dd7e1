"""Make the golden bundles anew: `python -m tests.stdo.make_golden`. Only where the format changes; the tests read them.

`expected.json` beside each manifest holds what the reference decoder restores from it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from fractions import Fraction
from pathlib import Path

import stdo
from stdo.bundle.manifest import Colour
from tests.stdo.bundles import sharpening_network, write_small_bundle

GOLDEN = Path(__file__).with_name("golden")
# B-frames are coded out of order, which a decoder must put right.
_H264 = {"qp": "16", "bf": "2", "x264-params": "b-adapt=0:keyint=3"}


def main() -> None:
    """Write both bundles and what they restore to."""
    shutil.rmtree(GOLDEN, ignore_errors=True)
    write_small_bundle(
        GOLDEN / "rgb",
        width=37,
        height=23,
        patch=(8, 5),
        halo=1,
        times=[Fraction(tick, 12_800) for tick in (0, 512, 1100, 2048)],
        networks=[sharpening_network(2, seed=seed, size=3) for seed in (1, 2, 3)],
        base_stream_options=_H264,
    )
    write_small_bundle(
        GOLDEN / "luma",
        width=40,
        height=31,
        scale=3,
        channels="luma",
        patch=(6, 7),
        halo=2,
        colour=Colour(matrix="bt601", range="full", primaries="bt470bg", transfer="iec61966-2-1"),
        networks=[sharpening_network(3, "luma", seed=seed) for seed in (4, 5)],
        base_stream_options=_H264,
        sound_seconds=0.2,
    )
    for folder in (GOLDEN / "rgb", GOLDEN / "luma"):
        text = json.dumps(expected_frames(folder), indent=1)
        (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


def expected_frames(folder: Path) -> list[dict[str, object]]:
    """Time, hashes of R'G'B' (rows of R, G, B) and of the planes Y, U, V one after another, and the first pixels."""
    with stdo.open_bundle(folder) as bundle:
        return [
            {
                "time": str(frame.time),
                "rgb_sha256": hashlib.sha256(frame.rgb.tobytes()).hexdigest(),
                "yuv_sha256": hashlib.sha256(
                    b"".join(plane.tobytes() for plane in (frame.yuv.y, frame.yuv.u, frame.yuv.v))
                ).hexdigest(),
                "first_rgb_samples": frame.rgb[0, :4].reshape(-1).tolist(),
            }
            for frame in stdo.reconstruct(bundle)
        ]


if __name__ == "__main__":
    main()
