"""Turns a released order model into a jaxmars model folder.

The source is a released folder (config.json, model.safetensors, converters/*.zstd), a jaxmars
folder, or a hub id owner/name. Tensors keep their released names, so folders travel both ways.
"""

import argparse
import pathlib

from jaxmars.errors import InputError

NAME = "convert"
HELP = "turn a released order model into a jaxmars folder"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("source", help="folder or hub id")
    parser.add_argument(
        "out", type=pathlib.Path, help="folder to write; an older model is replaced"
    )
    parser.add_argument(
        "--revision", help="commit, tag or branch of a hub repository (default: its main branch)"
    )


def run(args: argparse.Namespace) -> None:
    """Loads strictly, writes whole or not at all."""
    from jaxmars.models import OrderModel

    if args.revision is not None and pathlib.Path(args.source).exists():
        raise InputError(f"--revision belongs to a hub repository, but {args.source} is a folder")
    model = OrderModel.from_pretrained(args.source, args.revision)
    model.save(args.out, {**model.manifest, "converted_from": args.source})
    bins = "" if model.converters is not None else ", no converters"
    print(f"{args.out}: {model.num_params:,} parameters, head {model.config.head}{bins}")
