"""The photographs: which Debian packages they come from, and which of them are held back for judging.

A file is named `<package>__<name>.jpg`. Anyone gets the originals with `apt-get download` of the packages below from
Debian 12 (`gnome-backgrounds` from Debian 11, which has version 3.38), unpacked by `dpkg-deb -x`. Each was halved in
size by reduction, which removes the traces of its JPEG coding, and saved as JPEG.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

RgbImage = npt.NDArray[np.uint8]
"""(h, w, 3) uint8."""

PACKAGES = (
    "budgie-backgrounds",
    "gnome-backgrounds-3.38",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
)

HELD_BACK = (
    "budgie-backgrounds__canyon-wren.jpg",
    "budgie-backgrounds__high-trestle-trail.jpg",
    "budgie-backgrounds__roman-colosseum.jpg",
    "budgie-backgrounds__tea-gardens.jpg",
    "gnome-backgrounds-3.38__Road.jpg",
    "lomiri-wallpapers-16.04__Bridge_by_Sander_Klootwijk.jpg",
    "mate-backgrounds__LadyBird.jpg",
    "plasma-workspace-wallpapers__ColorfulCups.jpg",
)


class PhotographsMissingError(ValueError):
    """The folder does not hold the photographs that the recipe needs."""


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """A photograph in memory: its file name and its pixels (h, w, 3) uint8 RGB."""

    name: str
    pixels: RgbImage


def load_training_photographs(folder: Path) -> list[Photograph]:
    """Every JPEG in the folder but those held back, in the order of their names.

    Raises:
        PhotographsMissingError: there is none.
    """
    paths = [path for path in sorted(folder.glob("*.jpg")) if path.name not in HELD_BACK]
    if not paths:
        raise PhotographsMissingError(f"{folder} holds no <package>__<name>.jpg files to train on.")
    return [_load(path) for path in paths]


def load_held_back_photographs(folder: Path) -> list[Photograph]:
    """The photographs that no network is trained on.

    Raises:
        PhotographsMissingError: one of them is not there.
    """
    missing = [name for name in HELD_BACK if not (folder / name).is_file()]
    if missing:
        raise PhotographsMissingError(f"{folder} lacks held-back photographs: {', '.join(missing)}.")
    return [_load(folder / name) for name in HELD_BACK]


def _load(path: Path) -> Photograph:
    with Image.open(path) as image:
        return Photograph(name=path.name, pixels=np.asarray(image.convert("RGB")))
