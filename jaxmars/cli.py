"""The command line: `jaxmars` and its commands."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from jaxmars import (
    __version__,
    cli_backtest,
    cli_bench_lob,
    cli_convert,
    cli_data,
    cli_facts,
    cli_forecast,
    cli_replay,
    cli_simulate,
    cli_train,
)
from jaxmars.errors import InputError

USER_ERROR = 2
INTERRUPTED = 130
ONLY_FATAL = "3"


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Bad input ends in one sentence on stderr and exit code 2."""
    # Programs read back from the compilation cache are reported by XLA as errors, several kilobytes
    # each, when the CPU lacks a tuning hint they were compiled with. JAX must not be imported yet.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", ONLY_FATAL)
    args, unknown = build_parser().parse_known_args(argv)
    if unknown:
        complain(
            args.command, f"unknown argument {unknown[0]!r:.80}; see jaxmars {args.command} --help"
        )
        return USER_ERROR
    run: Callable[[argparse.Namespace], None] = args.run
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_note
            run(args)
    except InputError as error:
        complain(args.command, str(error))
        return USER_ERROR
    except OSError as error:
        where = "" if error.filename is None else f": {error.filename}"
        complain(args.command, f"{error.strerror or error}{where}")
        return USER_ERROR
    except KeyboardInterrupt:
        print(file=sys.stderr)
        complain(args.command, "interrupted")
        return INTERRUPTED
    return 0


def complain(command: str, sentence: str) -> None:
    """One line on stderr."""
    print(f"jaxmars {command}: {one_line(sentence)}", file=sys.stderr)


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.splitlines())


def show_note(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line, without the code that gave it."""
    print(f"note: {one_line(str(message))}", file=sys.stderr)


def build_parser() -> argparse.ArgumentParser:
    """All commands and flags."""
    parser = OneLineParser(prog="jaxmars", description="A JAX-native market simulator.")
    parser.add_argument("--version", action="version", version=f"jaxmars {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (
        cli_forecast,
        cli_backtest,
        cli_simulate,
        cli_replay,
        cli_facts,
        cli_bench_lob,
        cli_data,
        cli_train,
        cli_convert,
    ):
        sub = commands.add_parser(
            module.NAME,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_flags(sub)
        sub.set_defaults(run=module.run)
    return parser


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {one_line(message)}; see {self.prog} --help", file=sys.stderr)
        sys.exit(USER_ERROR)


if __name__ == "__main__":
    sys.exit(main())
