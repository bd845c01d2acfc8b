"""Turns a released order model into a jaxmars model folder.

The source is a released folder (config.json, model.safetensors, converters/*.zstd), a jaxmars
folder, or a hub id owner/name. Tensors keep their released names, so folders travel both ways.
"""

import argparse
import pathlib

NAME = "convert"
HELP = "turn a released order model into a jaxmars folder"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("source", help="folder or hub id")
    parser.add_argument("out", type=pathlib.Path, help="folder to write")
    parser.add_argument("--revision", help="commit, tag or branch of a hub repository")


def run(args: argparse.Namespace) -> None:
    """Loads strictly, writes whole or not at all."""
    from jaxmars.models import OrderModel

    model = OrderModel.from_pretrained(args.source, args.revision)
    model.save(args.out, {**model.manifest, "converted_from": args.source})
    print(f"{args.out}: {model.num_params:,} parameters, head {model.config.head}")
