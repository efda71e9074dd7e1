"""Which general networks are trained, in which order, for how long, and from what."""

from dataclasses import dataclass

from pretraining.train import TrainingSettings

LR_PATCH = 48


@dataclass(frozen=True, kw_only=True)
class PlannedNetwork:
    """One network of the plan. The x3 and x4 ones start from the body of the x2 one, which is trained first."""

    architecture: str
    scale: int
    settings: TrainingSettings


def _planned(architecture: str, *, minutes_x2: float, minutes_x4: float, minutes_x3: float) -> tuple[PlannedNetwork, ...]:
    return tuple(
        PlannedNetwork(
            architecture=architecture,
            scale=scale,
            settings=TrainingSettings(minutes=minutes, learning_rate=learning_rate, batch_size=16),
        )
        for scale, minutes, learning_rate in ((2, minutes_x2, 1e-3), (4, minutes_x4, 7e-4), (3, minutes_x3, 7e-4))
    )


PLAN: tuple[PlannedNetwork, ...] = (
    *_planned("espcn", minutes_x2=16, minutes_x4=9, minutes_x3=9),
    *_planned("wdsr-small", minutes_x2=28, minutes_x4=14, minutes_x3=14),
)


def plan_of(architecture: str) -> tuple[PlannedNetwork, ...]:
    """The plan of one architecture; one that PLAN leaves out, since it needs a GPU, gets a plan of the same shape."""
    planned = tuple(network for network in PLAN if network.architecture == architecture)
    return planned or _planned(architecture, minutes_x2=28, minutes_x4=14, minutes_x3=14)
