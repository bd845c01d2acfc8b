"""The command line: `jaxmars forecast`, `jaxmars convert`."""

import argparse
import sys
from collections.abc import Callable

from jaxmars import __version__, cli_convert, cli_forecast
from jaxmars.errors import InputError

USER_ERROR = 2
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Bad input ends in one sentence on stderr and exit code 2."""
    args = build_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], None] = args.run
    try:
        run(args)
    except InputError as error:
        print(f"jaxmars {args.command}: {error}", file=sys.stderr)
        return USER_ERROR
    except OSError as error:
        print(f"jaxmars {args.command}: {error.strerror}: {error.filename}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print(f"jaxmars {args.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def build_parser() -> argparse.ArgumentParser:
    """All commands and flags."""
    parser = OneLineParser(prog="jaxmars", description="A JAX-native market simulator.")
    parser.add_argument("--version", action="version", version=f"jaxmars {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (cli_forecast, cli_convert):
        sub = commands.add_parser(
            module.NAME,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=Formatter,
        )
        module.add_flags(sub)
        sub.set_defaults(run=module.run)
    return parser


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps line breaks and prints defaults."""


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of the whole usage."""

    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(USER_ERROR)


if __name__ == "__main__":
    sys.exit(main())
