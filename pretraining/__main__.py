"""python -m pretraining: train the general networks, print their figures, or write them in the client's form."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.registry import ARCHITECTURES
from pretraining.export_general import export_general
from pretraining.plan import PLAN, PRETRAINED_SCALES, PlannedNetwork, plan_of
from pretraining.recipe import pretrain
from pretraining.report import print_figures
from stdo.networks.general import INDEX


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if options.command == "export-general":
        for path in export_general(INDEX.parent):
            logging.info("%s has %d bytes", path.name, path.stat().st_size)
        return
    if options.photos is None:
        sys.exit(f"{options.command} needs --photos.")
    if options.command == "evaluate":
        scales = PRETRAINED_SCALES if options.scale is None else (options.scale,)
        print_figures(photos=options.photos, weights=options.output, scales=scales)
        return
    planned = _chosen(options)
    pretrain(planned, photos=options.photos, output=options.output, refine=options.refine, seed=options.seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pretraining", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("train", "evaluate", "export-general"), default="train")
    parser.add_argument("--photos", type=Path, help="folder of <package>__<name>.jpg photographs")
    parser.add_argument("--output", type=Path, default=Path("pretraining-output"), help="folder of the weights files")
    parser.add_argument("--architecture", choices=[known.name for known in ARCHITECTURES], help="train this one alone")
    parser.add_argument("--scale", type=int, choices=PRETRAINED_SCALES, help="train or judge this scale alone")
    parser.add_argument("--minutes", type=float, help="train each network this long, instead of as planned")
    parser.add_argument("--learning-rate", type=float, help="the highest learning rate, instead of the planned one")
    parser.add_argument("--full-precision-share", type=float, help="the last share of each run goes without bf16")
    parser.add_argument("--refine", action="store_true", help="go on from the weights files in the output folder")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _chosen(options: argparse.Namespace) -> list[PlannedNetwork]:
    planned = plan_of(options.architecture) if options.architecture else PLAN
    changes = {
        name: value
        for name in ("minutes", "learning_rate", "full_precision_share")
        if (value := getattr(options, name)) is not None
    }
    return [
        replace(network, settings=replace(network.settings, **changes))
        for network in planned
        if options.scale in (None, network.scale)
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
