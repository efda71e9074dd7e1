"""The recipe: photographs -> pairs -> one trained network a file."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.general import load_weights, save_weights, weights_file_name
from models.registry import build_network
from pretraining.pairs import PatchSampler, clean_pairs, coded_pairs
from pretraining.photographs import load_training_photographs
from pretraining.plan import LR_PATCH, PlannedNetwork
from pretraining.starts import start_from_other_scale, start_near_interpolation
from pretraining.train import train_network

logger = logging.getLogger(__name__)

CLEAN_SHARE = 0.7
CANDIDATES = 3
_CLIPS_PER_PHOTOGRAPH = 3
_BASE_SCALE = 2


def pretrain(planned: Iterable[PlannedNetwork], *, photos: Path, output: Path, refine: bool, seed: int) -> None:
    """Train the networks one after the other; each leaves `<architecture>_x<scale>.safetensors` in `output`.

    refine: go on from the file where it is already there, instead of from fresh weights or the x2 network's body.
    """
    output.mkdir(parents=True, exist_ok=True)
    for network in planned:
        torch.manual_seed(seed)
        sampler = _make_sampler(photos, scale=network.scale, seed=seed)
        path = output / weights_file_name(network.architecture, network.scale)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        train_network(
            _starting_network(network, output=output, refine=refine).to(device),
            sampler,
            architecture=network.architecture,
            scale=network.scale,
            settings=network.settings,
            save=lambda trained, path=path: save_weights(trained, path),  # type: ignore[misc]
        )


def _make_sampler(photos: Path, *, scale: int, seed: int) -> PatchSampler:
    random = np.random.default_rng(seed)
    photographs = load_training_photographs(photos)
    coded = coded_pairs(photographs, scale=scale, clips_per_photograph=_CLIPS_PER_PHOTOGRAPH, random=random)
    sampler = PatchSampler(
        clean=list(clean_pairs(photographs, scale=scale)),
        coded=list(coded),
        clean_share=CLEAN_SHARE,
        scale=scale,
        lr_patch=LR_PATCH,
        candidates=CANDIDATES,
        random=random,
    )
    logger.info("x%d: pairs of %d photographs are ready", scale, len(photographs))
    return sampler


def _starting_network(planned: PlannedNetwork, *, output: Path, refine: bool) -> nn.Module:
    path = output / weights_file_name(planned.architecture, planned.scale)
    if refine and path.exists():
        return load_weights(path, architecture=planned.architecture, scale=planned.scale)
    network = build_network(planned.architecture, scale=planned.scale, channels="rgb")
    base_path = output / weights_file_name(planned.architecture, _BASE_SCALE)
    if planned.scale != _BASE_SCALE and base_path.exists():
        trained = load_weights(base_path, architecture=planned.architecture, scale=_BASE_SCALE)
        start_from_other_scale(network, trained)
        logger.info("%s x%d starts from the x%d network", planned.architecture, planned.scale, _BASE_SCALE)
    else:
        start_near_interpolation(network)
    return network
