from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from models.registry import build_network
from models.weight_norm import add_weight_norm
from workers.errors import TrainingDivergedError
from workers.training import overfitting
from workers.training.checkpoints import Checkpoint
from workers.training.overfitting import Restore, Schedule, ShuffledEpochs, overfit
from workers.training.patches import TrainingPatches

CPU = torch.device("cpu")
SCHEDULE = Schedule(steps=12, batch_size=4, learning_rate=1e-3, final_learning_rate=1e-6, seed=(5, 0))


class _CutOffError(Exception):
    """Stands for whatever ends a training early."""


def tiny_network(architecture: str = "espcn") -> nn.Module:
    torch.manual_seed(1)
    network = build_network(architecture, scale=2, channels="rgb")
    if architecture.startswith("wdsr"):
        add_weight_norm(network)
    return network


def tiny_patches(count: int = 10) -> TrainingPatches:
    generator = torch.Generator().manual_seed(2)

    def pixels(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    return patches_of(pixels(count, 12, 14, 3), pixels(count, 16, 20, 3))


def patches_of(inputs: torch.Tensor, targets: torch.Tensor) -> TrainingPatches:
    count = len(inputs)
    return TrainingPatches(
        inputs=inputs,
        targets=targets,
        groups=torch.arange(count, dtype=torch.uint8) % 2,
        seen=torch.arange(count),
        base_bit_depth=8,
        bit_depth=8,
    )


def plainly(module: nn.Module, inputs: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    restored: torch.Tensor = module(inputs)
    return restored


def overfit_tiny(
    network: nn.Module,
    patches: TrainingPatches,
    checkpoint: Checkpoint,
    *,
    schedule: Schedule,
    report: Callable[[int], None] = lambda _: None,
    restore: Restore = plainly,
) -> None:
    overfit(
        network,
        patches,
        schedule,
        restore=restore,
        overhang=4,
        run_number=0,
        checkpoint=checkpoint,
        device=CPU,
        report=report,
    )


def run(
    folder: Path,
    *,
    architecture: str = "espcn",
    stop_after: int | None = None,
    fingerprint: str = "a",
    schedule: Schedule = SCHEDULE,
) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Train with a checkpoint at every step; the weights, and the steps reported."""
    network, steps = tiny_network(architecture), []

    def report(done: int) -> None:
        steps.append(done)
        if done == stop_after:
            raise _CutOffError

    checkpoint = Checkpoint(folder / "c.safetensors", interval_seconds=1e-9, fingerprint=fingerprint)
    try:
        overfit_tiny(network, tiny_patches(), checkpoint, schedule=schedule, report=report)
    except _CutOffError:
        assert stop_after is not None
    return network.state_dict(), steps


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("architecture", ["espcn", "wdsr-small"])
def test_an_interrupted_run_ends_with_the_very_weights_of_an_uninterrupted_one(
    tmp_path: Path, architecture: str
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole, steps = run(tmp_path / "whole", architecture=architecture)
    assert steps == list(range(1, 13))
    # In the middle of an epoch, and again at the end of one.
    _, first = run(tmp_path / "cut", architecture=architecture, stop_after=3)
    _, second = run(tmp_path / "cut", architecture=architecture, stop_after=8)
    resumed, third = run(tmp_path / "cut", architecture=architecture)
    assert [*first, *second, *third] == steps
    assert same(whole, resumed)


def test_a_checkpoint_of_another_run_is_not_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected, _ = run(tmp_path, fingerprint="b")
    (tmp_path / "c.safetensors").unlink()
    run(tmp_path, fingerprint="a", stop_after=5)
    weights, steps = run(tmp_path, fingerprint="b")
    assert steps[0] == 1
    assert same(weights, expected)
    assert "another training" in caplog.text


def test_a_damaged_checkpoint_is_not_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path, stop_after=5)
    path = tmp_path / "c.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    _, steps = run(tmp_path)
    assert steps[0] == 1
    assert "can't be read" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == ["c.safetensors"]


@pytest.mark.parametrize("interval_seconds", [1e-9, 60])
def test_a_run_that_diverges_is_told_so_and_keeps_no_broken_checkpoint(tmp_path: Path, interval_seconds: float) -> None:
    network, steps = tiny_network(), []
    path = tmp_path / "c.safetensors"
    checkpoint = Checkpoint(path, interval_seconds=interval_seconds, fingerprint="a")
    schedule = replace(SCHEDULE, learning_rate=1e30, final_learning_rate=1e30)
    with pytest.raises(TrainingDivergedError, match=r"Lower training\.learning_rate"):
        overfit_tiny(network, tiny_patches(), checkpoint, schedule=schedule, report=steps.append)
    if path.exists():
        assert all(weights.isfinite().all() for weights in load_file(path).values())
    assert len(steps) < 12 if interval_seconds < 1 else len(steps) == 12


def test_the_seed_decides_the_order() -> None:
    def order(seed: int) -> list[list[int]]:
        epochs = ShuffledEpochs(patch_count=10, batch_size=4, seed=(seed, 0), device=CPU)
        return [epochs.batch(step).tolist() for step in range(4)]

    assert order(0) == order(0)
    assert order(0) != order(1)
    for epoch in (order(0)[:2], order(0)[2:]):
        seen = [number for batch in epoch for number in batch]
        assert len(set(seen)) == 8


def test_fewer_patches_than_a_batch_are_all_seen_at_every_step() -> None:
    epochs = ShuffledEpochs(patch_count=3, batch_size=16, seed=(0, 0), device=CPU)
    assert [sorted(epochs.batch(step).tolist()) for step in range(2)] == [[0, 1, 2]] * 2


def test_the_learning_rate_falls_as_a_cosine() -> None:
    assert SCHEDULE.learning_rate_at(0) == pytest.approx(1e-3)
    assert SCHEDULE.learning_rate_at(6) == pytest.approx((1e-3 + 1e-6) / 2)
    assert SCHEDULE.learning_rate_at(12) == pytest.approx(1e-6)


def test_what_the_halo_gives_is_outside_the_loss(tmp_path: Path) -> None:
    """A network that is wrong in the overhang alone has nothing to learn: its weights stay."""

    class WrongOutside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.border = nn.Parameter(torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            restored = torch.full((len(x), 3, 24, 28), 1.0) * self.border
            restored[:, :, 4:-4, 4:-4] = 0.0 * self.border
            return restored

    network = WrongOutside()
    black = patches_of(torch.zeros(4, 12, 14, 3, dtype=torch.uint8), torch.zeros(4, 16, 20, 3, dtype=torch.uint8))
    checkpoint = Checkpoint(tmp_path / "c.safetensors", interval_seconds=60, fingerprint="")
    network.border.data.fill_(7.0)
    overfit_tiny(network, black, checkpoint, schedule=SCHEDULE)
    assert network.border.item() == 7.0


def test_a_step_hands_on_the_group_labels_of_its_patches(tmp_path: Path) -> None:
    patches = tiny_patches(4)
    seen: list[list[int]] = []

    def restore(module: nn.Module, inputs: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        # Which patches these are, by their pixels.
        stored = patches.input_pictures(torch.arange(4))
        places = [(stored == picture).flatten(1).all(1).nonzero() for picture in inputs]
        assert groups.tolist() == [int(place) % 2 for place in places]
        seen.append(groups.tolist())
        return plainly(module, inputs, groups)

    checkpoint = Checkpoint(tmp_path / "c.safetensors", interval_seconds=60, fingerprint="")
    schedule = replace(SCHEDULE, steps=2, batch_size=3)
    overfit_tiny(tiny_network(), patches, checkpoint, schedule=schedule, restore=restore)
    assert len(seen) == 2


def test_only_long_runs_are_compiled_and_a_resumed_one_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def forward(module: nn.Module, restore: Restore, device: torch.device, *, steps: int) -> object:
        asked.append(steps)
        return original(module, restore, device, steps=steps)

    original = overfitting._forward
    monkeypatch.setattr(overfitting, "_forward", forward)
    run(tmp_path, stop_after=5)
    run(tmp_path)
    assert asked == [12, 12]
