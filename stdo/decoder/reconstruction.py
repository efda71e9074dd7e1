"""The decoder: a bundle in, restored frames out, one segment after another (docs/FORMAT.md, section 9)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from stdo.bundle.bundle import Bundle
from stdo.bundle.patch_index import NetworkNumbers
from stdo.bundle.segments import Segment
from stdo.decoder.frame_restorer import FrameRestorer
from stdo.decoder.frames import YuvFrame
from stdo.decoder.restored_frame import RestoredFrame
from stdo.decoder.video_reader import decode_segment
from stdo.errors import DamagedBundleError, FrameRangeError
from stdo.networks.codings import RunOptions, open_network, reads_file
from stdo.networks.onnx_profile import check_byte_count
from stdo.networks.upscale import Upscaler

__all__ = [
    "BundleNetworks",
    "CodedFrame",
    "FrameRestorer",
    "RestoredFrame",
    "RunOptions",
    "coded_frames",
    "load_network",
    "reconstruct",
]


class BundleNetworks(Sequence[Upscaler]):
    """The networks of a bundle. Each is fetched, verified and loaded when it is first used, and then kept."""

    def __init__(self, bundle: Bundle, run: RunOptions) -> None:
        self._bundle = bundle
        self._run = run
        self._loaded: dict[int, Upscaler] = {}

    def __len__(self) -> int:
        return len(self._bundle.manifest.networks)

    @overload
    def __getitem__(self, number: int) -> Upscaler: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[Upscaler]: ...

    def __getitem__(self, number: int | slice) -> Upscaler | Sequence[Upscaler]:
        """The network of a number. Raises as `load_network` does."""
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        if number not in self._loaded:
            self._loaded[number] = load_network(self._bundle, number, self._run)
        return self._loaded[number]


def load_network(bundle: Bundle, number: int, run: RunOptions) -> Upscaler:
    """A network of a bundle, fetched and verified where its own file is needed.

    Raises as `Bundle.network_bytes` and `open_network` do. A file that is too long for the format is not fetched.
    """
    network, data = bundle.manifest.networks[number], None
    if reads_file(network):
        if network.file is not None:
            check_byte_count(network.file.byte_count)
        data = bundle.network_bytes(network)
    return open_network(network, data, scale=bundle.manifest.picture.scale, run=run)


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedFrame:
    """A frame as the bundle holds it."""

    number: int
    """Counted from 0, in order of presentation."""
    base: YuvFrame
    """Of the base stream."""
    numbers: NetworkNumbers
    """(rows * columns,) uint8, the network of each patch"""


def reconstruct(
    bundle: Bundle,
    *,
    frames: tuple[int, int] | None = None,
    networks: Sequence[Upscaler] | None = None,
    run: RunOptions | None = None,
) -> Iterator[RestoredFrame]:
    """Restore a bundle's frames in order, each with its own time.

    The first frame comes after the first segment and its networks: segments and networks are fetched, checked and used
    one by one, and one segment is held at a time.

    Args:
        frames: the number of the first frame, counted from 0, and that of the first one no longer wanted; all by
            default. Only what they need is fetched.
        networks: run these in place of the bundle's own, by number, such as other run times than ONNX Runtime.
        run: how the bundle's own networks are run; by default on all cores.

    Raises:
        FrameRangeError: the frames are not in the video.
        StdoError: the bundle can't be restored; see its subclasses.
    """
    frame_count, network_count = bundle.manifest.picture.frame_count, len(bundle.manifest.networks)
    first, end = frames or (0, frame_count)
    if not 0 <= first < end <= frame_count:
        raise FrameRangeError(f"Frames {first}:{end} are not in this video; it has frames 0:{frame_count}.")
    if networks is not None and len(networks) != network_count:
        raise ValueError(f"one upscaler for each network: {len(networks) = }, {network_count = }")
    upscalers = BundleNetworks(bundle, run or RunOptions()) if networks is None else networks
    restorer = FrameRestorer(bundle.layout, upscalers)
    return (restorer.restore(coded.base, coded.numbers) for coded in coded_frames(bundle, range(first, end)))


def coded_frames(bundle: Bundle, wanted: Sequence[int]) -> Iterator[CodedFrame]:
    """What `reconstruct` restores frames from: for callers that do more with them, or restore several at once.

    Segments without a wanted frame are not fetched. Raises as `reconstruct` does.

    Args:
        wanted: numbers of frames of the video, ascending.
    """
    for segment in bundle.segments:
        held = bundle.segment_frames(segment)
        inside = wanted[bisect_left(wanted, held.start) : bisect_left(wanted, held.stop)]
        if not inside:
            continue
        chosen, last, numbers = frozenset(inside), inside[-1], bundle.numbers(segment)
        for place, base in enumerate(_base_frames(bundle, segment)):
            if held[place] in chosen:
                yield CodedFrame(number=held[place], base=base, numbers=numbers[place])
            # A segment that is wanted to its end is decoded to its end, so that one with too many frames is noticed.
            if held[place] == last and last + 1 < held.stop:
                break


def _base_frames(bundle: Bundle, segment: Segment) -> Iterator[YuvFrame]:
    """The decoded frames of a segment.

    Raises:
        DamagedBundleError: it holds other frames than the segment table says.
    """
    held = bundle.segment_frames(segment)
    name = f"The segment of frames {held.start}:{held.stop}"
    first_time = segment.time_ticks * bundle.manifest.base_stream.time_base.fraction
    count = 0
    for base in decode_segment(bundle.header_bytes(), bundle.segment_bytes(segment), name=name):
        if count == 0 and base.time != first_time:
            raise DamagedBundleError(f"{name} begins at {base.time} s; the segment table says {first_time} s.")
        if count == len(held):
            raise DamagedBundleError(f"{name} has more than these {len(held)} frames.")
        count += 1
        yield base
    if count != len(held):
        raise DamagedBundleError(f"{name} ends after {count} of these {len(held)} frames.")
