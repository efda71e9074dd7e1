"""What a job may ask for, validated, with every default stated."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from stdo.bundle.codecs import CODECS, BitDepth, CodecName
from stdo.bundle.manifest import Scale

Method = Literal["stdo", "jstdo", "nas", "awdnn"]
Partition = Literal["psnr", "time", "none"]
SharingName = Literal["separate", "joint"]
Architecture = Literal["espcn", "srcnn", "vdsr", "edsr", "wdsr", "vdsr-small", "edsr-small", "wdsr-small"]
GeneralNetwork = Literal["espcn", "wdsr-small"]


class MethodAxes(NamedTuple):
    """The two choices that a method's name stands for."""

    partition: Partition
    """How patches are grouped: by f0's PSNR, by time, or not at all."""
    sharing: SharingName
    """What the groups' networks have in common: nothing, or everything (one network for all groups)."""


METHODS: Mapping[Method, MethodAxes] = {
    "stdo": MethodAxes("psnr", "separate"),
    "jstdo": MethodAxes("psnr", "joint"),
    "nas": MethodAxes("time", "separate"),
    "awdnn": MethodAxes("none", "separate"),
}


SETTINGS_OF_ONE_SHARING: Mapping[str, SharingName] = {
    "split_over": "separate",
    "joint_shares": "joint",
    "joint_patch_count": "joint",
}
"""Settings of `training` that mean something with one sharing alone."""

LOSSLESS_CODECS: tuple[CodecName, ...] = ("h264", "hevc")


def _no_boolean(value: object) -> object:
    # pydantic takes `true` for 1 where the values are listed.
    if isinstance(value, bool):
        raise ValueError("a boolean is no number")
    return value


class _Settings(BaseModel):
    # Strict: `true` is no number of steps, and neither is "4000".
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BaseStreamSettings(_Settings):
    """The video that is sent."""

    codec: CodecName = Field(default="h264", description="h264 plays everywhere; vvc needs an app with a decoder.")
    bit_depth: BitDepth | None = Field(
        default=None,
        description="Bits of a sample. Default: 10 for av1 and vvc, and for hevc where the source has more; else 8.",
    )
    lossless: bool = Field(
        default=False, description="The paper's setting: without loss, large, for comparisons; h264 and hevc alone."
    )
    downscale: Literal["bicubic", "lanczos"] = Field(default="bicubic", description="Filter of the downscale.")
    crf: Annotated[int, Field(ge=0, le=63)] | None = Field(
        default=None,
        description="Constant quality: 0 to 51 for H.264 and HEVC, 0 to 63 for AV1 and VVC, lower is better. "
        "Default 20, 22, 28 and 28 where no bitrate is given.",
    )
    bitrate_kbps: Annotated[int, Field(ge=16, le=200_000)] | None = Field(
        default=None, description="Average bitrate of the base stream's video in kbit/s, instead of `crf`."
    )
    speed: Literal["fast", "medium", "slow"] = Field(default="medium", description="Effort of the video encoder.")
    segment_seconds: Annotated[float, Field(ge=0.5, le=30)] = Field(
        default=5.0,
        description="About how long a segment is: each begins with a key frame, and no other frame is one. A player "
        "fetches, checks and seeks by segments.",
    )
    audio_bitrate_kbps: Annotated[int, Field(ge=16, le=512)] = Field(
        default=128, description="Bitrate where sound must be encoded anew (AAC is passed through)."
    )

    @model_validator(mode="after")
    def _one_rate_control(self) -> Self:
        if self.crf is not None and self.bitrate_kbps is not None:
            raise ValueError("give crf or bitrate_kbps, not both")
        if self.lossless and (self.crf is not None or self.bitrate_kbps is not None):
            raise ValueError("a lossless stream has neither crf nor bitrate_kbps")
        if self.lossless and self.codec not in LOSSLESS_CODECS:
            raise ValueError(f"{self.codec} has no lossless mode here: choose {' or '.join(LOSSLESS_CODECS)}")
        if self.codec in ("h264", "hevc") and self.crf is not None and self.crf > 51:
            raise ValueError(f"crf goes up to 51 for {self.codec}")
        if self.bit_depth is not None and self.bit_depth not in CODECS[self.codec].bit_depths:
            raise ValueError(f"{self.codec} is written with {CODECS[self.codec].bit_depths[0]} bits alone")
        return self


class PatchSettings(_Settings):
    """The patch grid, in pixels of the base frame (paper section 4.1: 48x54 at x2 and x4)."""

    width: Annotated[int, Field(ge=8, le=512)] = Field(default=48, description="Pixels of the base frame.")
    height: Annotated[int, Field(ge=8, le=512)] = Field(default=54, description="Pixels of the base frame.")
    halo: Annotated[int, Field(ge=0, le=16)] = Field(
        default=4,
        description="Real neighbouring pixels around a patch that its network sees. 0 is the paper's setting.",
    )


class GroupSettings(_Settings):
    """How the patches are grouped."""

    count: Annotated[int, Field(ge=1, le=16)] = Field(default=4, description="Groups; `awdnn` has one.")


class TrainingSettings(_Settings):
    """How the networks are overfitted."""

    architecture: Architecture = Field(default="espcn", description="The networks that are trained.")
    channels: Literal["rgb", "luma"] = Field(
        default="rgb",
        description="`luma` restores luma alone and interpolates chroma: about a third cheaper on a client.",
    )
    start: Literal["general", "scratch"] = Field(
        default="general",
        description="Start from the general network f0 of this architecture (espcn and wdsr-small have one), or from "
        "scratch as in the paper.",
    )
    steps: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=4000,
        description="Optimiser steps over all networks together, so that methods compare at equal cost: each network "
        "gets its equal share, the first ones a step more where it doesn't divide.",
    )
    batch_size: Annotated[int, Field(ge=1, le=1024)] = Field(default=16, description="Patches a step.")
    learning_rate: Annotated[float, Field(gt=0, le=0.1)] = Field(
        default=1e-3, description="At the start; falls as a cosine."
    )
    final_learning_rate: Annotated[float, Field(ge=0, le=0.1)] = Field(
        default=4e-8, description="What it falls to at the end."
    )
    patch_memory_mib: Annotated[int, Field(ge=16, le=1_000_000)] = Field(
        default=4096,
        description="Memory budget of one training's patches, shared out fairly among its networks; beyond it patches "
        "are sampled evenly.",
    )
    split_over: Annotated[int, Field(ge=1, le=16)] = Field(
        default=1,
        description="Trainings that separate networks are split over. One pass over the video serves all networks of a "
        "training; several trainings run on several workers at once.",
    )
    checkpoint_interval_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        default=60.0, description="How much training is lost at most when a worker dies."
    )
    joint_shares: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = Field(
        default=None,
        strict=False,  # JSON has no tuples.
        description="jstdo: share of each group's patches in the joint set (rho of the paper's eq. 2), from group 0: "
        "1, not increasing, the last 0. Default: a straight line from 1 to 0.",
    )
    joint_patch_count: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="jstdo: size of the joint set (mu of eq. 2); the middle shares are scaled to meet it."
    )

    @model_validator(mode="after")
    def _shares_decrease(self) -> Self:
        shares = self.joint_shares
        if shares is None:
            return self
        if not shares or shares[0] != 1 or any(later > earlier for earlier, later in pairwise(shares)):
            raise ValueError("joint_shares starts with 1 and does not increase")
        if len(shares) > 1 and shares[-1] != 0:
            raise ValueError("joint_shares ends with 0: the easiest group is left out")
        return self


class ExportSettings(_Settings):
    """How the networks are delivered."""

    precision: Literal["int8", "fp16", "fp32"] = Field(
        default="int8", description="Weights: int8 per output channel, or floating point."
    )


class MeasureSettings(_Settings):
    """How the finished bundle is measured."""

    max_frames: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=3000, description="Of longer videos so many frames are measured, evenly spread over the whole."
    )


class EncodingSettings(_Settings):
    """Everything that a job can ask for."""

    method: Method = Field(
        default="stdo",
        description="stdo: one network per PSNR group; jstdo: one joint network; nas: one per stretch of time; "
        "awdnn: one for all.",
    )
    scale: Annotated[Scale, BeforeValidator(_no_boolean)] = Field(
        default=2, description="How much smaller the base stream is. At 1 the networks clean the full-size picture."
    )
    hdr: Literal["keep", "tone_map"] | None = Field(
        default=None,
        description="What becomes of a PQ or HLG source. Default: `keep` where codec and depth carry it (hevc, av1 and "
        "vvc with 10 bits), else `tone_map`, to SDR of 8 bits.",
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        default=0, description="The same job with the same seed on the same machine gives the same bytes."
    )
    general_network: GeneralNetwork = Field(default="espcn", description="f0, which scores the patches.")
    base_stream: BaseStreamSettings = BaseStreamSettings()
    patches: PatchSettings = PatchSettings()
    groups: GroupSettings = GroupSettings()
    training: TrainingSettings = TrainingSettings()
    export: ExportSettings = ExportSettings()
    measure: MeasureSettings = MeasureSettings()

    @model_validator(mode="before")
    @classmethod
    def _one_group_without_partition(cls, data: Any) -> Any:
        """Where patches aren't grouped, `groups.count` need not be given."""
        groups = data.get("groups", {}) if isinstance(data, dict) else None
        if isinstance(groups, dict) and any(
            data.get("method") == method for method, axes in METHODS.items() if axes.partition == "none"
        ):
            return {**data, "groups": {"count": 1, **groups}}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        training = self.training
        if self.partition == "none" and self.groups.count != 1:
            raise ValueError(f"{self.method} has one group: leave groups.count out")
        if training.start == "general" and training.architecture not in get_args(GeneralNetwork):
            raise ValueError(f"{training.architecture} has no general network: set training.start to scratch")
        for name, sharing in SETTINGS_OF_ONE_SHARING.items():
            is_default = getattr(training, name) == TrainingSettings.model_fields[name].default
            if sharing != self.sharing and not is_default:
                methods = [method for method, axes in METHODS.items() if axes.sharing == sharing]
                raise ValueError(f"training.{name} belongs to the method {' or '.join(methods)}")
        if training.joint_shares is not None and len(training.joint_shares) != self.groups.count:
            raise ValueError(f"joint_shares has {len(training.joint_shares)} values for {self.groups.count} groups")
        stream = self.base_stream
        if self.hdr == "keep" and (not CODECS[stream.codec].carries_hdr or stream.bit_depth == 8):
            raise ValueError("hdr keep needs ten bits and a codec that players show it in: hevc, av1 or vvc")
        return self

    @property
    def partition(self) -> Partition:
        """How patches are grouped: the first axis of a method."""
        return METHODS[self.method].partition

    @property
    def sharing(self) -> SharingName:
        """What the groups' networks have in common: the second axis of a method."""
        return METHODS[self.method].sharing

    @property
    def group_count(self) -> int:
        """Groups of patches."""
        return 1 if self.partition == "none" else self.groups.count
