"""Scores generated order flow against the market with LOB-Bench (arXiv 2502.09172).

    jaxmars bench-lob DATA_DIR
    jaxmars bench-lob --real DIR --generated DIR [--conditioning DIR]

DATA_DIR is laid out as the benchmark has it, MODEL/STOCK/data_real, data_gen and, if there is one,
data_cond; every such set is scored and written to a folder of its own. Each folder of sequences
holds pairs of LOBSTER files, *message*.csv and *orderbook*.csv.

Writes report.md, summary.json, scores.csv, scores.png, responses.png, divergence.png and roc.png,
and, for several sets, comparison.md.
Beside every number stands its noise floor: random halves of the real sequences against each other.
"""

import argparse
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from jaxmars.cli_pace import prepare_jax, show_bar
from jaxmars.cli_values import natural, positive
from jaxmars.errors import InputError
from jaxmars.files import check_out, write_atomically

if TYPE_CHECKING:
    from jaxmars.tasks.lob_bench import LobBenchResult
    from jaxmars.tasks.lob_bench_data import BenchFolder, Sequence

NAME = "bench-lob"
HELP = "score generated order flow against the market with LOB-Bench"
TEXT_WIDTH = 48  # of what the progress bar says


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    folder = {"type": pathlib.Path, "metavar": "DIR"}
    parser.add_argument(
        "data_dir", nargs="?", type=pathlib.Path, help="folder of MODEL/STOCK/data_real, data_gen"
    )
    parser.add_argument("--real", **folder, help="LOBSTER pairs of the market")
    parser.add_argument("--generated", **folder, help="LOBSTER pairs of a generator")
    parser.add_argument("--conditioning", **folder, help="LOBSTER pairs the generator was shown")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("out/bench_lob"),
        help="folder to write (default: %(default)s)",
    )
    parser.add_argument(
        "--cut",
        type=positive,
        metavar="MESSAGES",
        help="cut sequences into consecutive ones of so many messages (default: leave them whole)",
    )
    parser.add_argument(
        "--tick",
        type=positive,
        default=100,
        help="LOBSTER price units, 1e-4 of the currency, per tick (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=positive, default=3, help="networks of the discriminator (default: 3)"
    )
    parser.add_argument(
        "--seed",
        type=natural,
        default=0,
        help="of resamples, halves, splits and networks (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Folders, scores, files."""
    from jaxmars.tasks.lob_bench_files import COMPARISON, FILES, comparison

    prepare_jax()
    found = folders(args)
    check_out(args.out, (COMPARISON,))
    for one in found:
        check_out(args.out / one.name, FILES)
    results = {one.name: score_folder(one, args) for one in found}
    if len(results) > 1:
        text = comparison(results)
        path = args.out / COMPARISON
        write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))
        print(f"\n{text}\nwrote {path}")


def folders(args: argparse.Namespace) -> "list[BenchFolder]":
    """What is to be scored."""
    from jaxmars.tasks.lob_bench_data import BenchFolder, find_folders

    if args.data_dir is not None:
        if args.real or args.generated or args.conditioning:
            raise InputError(
                "DATA_DIR was given together with --real, --generated or "
                "--conditioning, expected one or the other"
            )
        return find_folders(args.data_dir)
    if args.real is None or args.generated is None:
        raise InputError("expected DATA_DIR, or both --real and --generated")
    return [BenchFolder(".", args.real, args.generated, args.conditioning)]


def score_folder(folder: "BenchFolder", args: argparse.Namespace) -> "LobBenchResult":
    """Scores and writes one set of sequences."""
    from jaxmars.tasks.lob_bench import lob_bench
    from jaxmars.tasks.lob_bench_files import FILES, markdown, write_lob_bench

    real, generated = (read(x, args) for x in (folder.real, folder.generated))
    conditioning = [] if folder.conditioning is None else read(folder.conditioning, args)
    result = lob_bench(
        real, generated, conditioning, seed=args.seed, seeds=args.seeds, progress=show
    )
    print(file=sys.stderr)
    out = args.out / folder.name
    name = str(folder.generated) if folder.name == "." else folder.name
    write_lob_bench(out, result, name, describe_run(folder, args))
    print(markdown(result, name))
    print(f"wrote {out}/{', '.join(FILES)}")
    return result


def read(folder: pathlib.Path, args: argparse.Namespace) -> "list[Sequence]":
    """Sequences of a folder, cut if that was asked for."""
    from jaxmars.tasks.lob_bench_data import cut_sequence, read_sequences

    try:
        found = read_sequences(folder, args.tick, show)
    finally:
        print(file=sys.stderr)
    if args.cut is None:
        return found
    return [part for sequence in found for part in cut_sequence(sequence, args.cut)]


def show(done: int, wanted: int, text: str) -> None:
    """The progress bar."""
    show_bar(done, wanted, f"{text[-TEXT_WIDTH:]:{TEXT_WIDTH}}")


def describe_run(folder: "BenchFolder", args: argparse.Namespace) -> dict[str, Any]:
    """Provenance of the results."""
    from jaxmars.provenance import environment
    from jaxmars.tasks.lob_bench_data import content_hash

    known = {"real": folder.real, "generated": folder.generated}
    if folder.conditioning is not None:
        known["conditioning"] = folder.conditioning
    return environment() | {
        "config": {
            "folders": {name: str(path) for name, path in known.items()},
            "sha256": {name: content_hash(path) for name, path in known.items()},
            "cut": args.cut,
            "tick": args.tick,
            "seeds": args.seeds,
        }
    }
