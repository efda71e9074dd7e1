"""Which general networks are trained, in which order, for how long, and from what."""

from dataclasses import dataclass

from pretraining.train import TrainingSettings

LR_PATCH = 48
PRETRAINED_SCALES = (2, 3, 4)
"""At scale 1 there is no general network but the identity yet."""


@dataclass(frozen=True, kw_only=True)
class PlannedNetwork:
    """One network of the plan. The x3 and x4 ones start from the body of the x2 one, which is trained first."""

    architecture: str
    scale: int
    settings: TrainingSettings


def _planned(architecture: str, *, minutes: float, batch_size: int) -> tuple[PlannedNetwork, ...]:
    """One architecture at each scale: x2 for the given time, the others, which start warm, for half of it."""
    return tuple(
        PlannedNetwork(
            architecture=architecture,
            scale=scale,
            settings=TrainingSettings(minutes=minutes * share, learning_rate=learning_rate, batch_size=batch_size),
        )
        for scale, share, learning_rate in ((2, 1.0, 1e-3), (4, 0.5, 7e-4), (3, 0.5, 7e-4))
    )


PLAN: tuple[PlannedNetwork, ...] = (
    *_planned("espcn", minutes=16, batch_size=16),
    *_planned("wdsr-small", minutes=28, batch_size=8),
)


def plan_of(architecture: str) -> tuple[PlannedNetwork, ...]:
    """The plan of one architecture; one that PLAN leaves out, since it needs a GPU, gets a plan of the same shape."""
    planned = tuple(network for network in PLAN if network.architecture == architecture)
    return planned or _planned(architecture, minutes=28, batch_size=8)
