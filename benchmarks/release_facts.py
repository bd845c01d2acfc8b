"""The release's report of stylized facts (microsoft/MarS) in a process of its own.

`ReleaseFacts` starts this file with the interpreter the release is installed for. The file reads
windows once, and then, for each line of input, runs all computations of the report on them and
answers with one line of JSON: every number of its tables. What draws figures is replaced by objects
that do nothing, so that neither is timed nor needs to be installed. Only the standard library is
imported here besides the release itself.
"""

import argparse
import csv
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import types
import warnings
from typing import Any
from unittest import mock

MODULE = "market_simulation.examples.report_stylized_facts"
DRAWING = ("matplotlib", "matplotlib.pyplot", "matplotlib.figure", "seaborn", "zstandard")
DAY, MINUTE = "2024-01-02", "min"


class ReleaseFacts:
    """The release's report on windows given once; a context manager."""

    def __init__(self, checkout: str, python: str, windows: list[dict[str, Any]]) -> None:
        """Starts it.

        Args:
          checkout: folder of the release's repository.
          python: interpreter that can import it.
          windows: symbol, first minute since midnight, and per source rows of last price, mean
            price, mean mid, last mid and volume.
        """
        command = [python, os.path.abspath(__file__), checkout]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._send(json.dumps(windows))
        self.about = self._answer()

    def run(self) -> dict[str, list[dict[str, str]]]:
        """The tables of the report, by the name of their file."""
        self._send("run")
        return self._answer()

    def __enter__(self) -> "ReleaseFacts":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _send(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the release's process ended with {self._process.wait()}")
        return json.loads(line)


def _load() -> Any:
    """The module of the report, its figures replaced."""
    for name in DRAWING:
        sys.modules[name] = mock.MagicMock()
    plots: Any = sys.modules["matplotlib.pyplot"]
    plots.subplots.return_value = (mock.MagicMock(), mock.MagicMock())
    whole: Any = sys.modules["matplotlib"]
    whole.pyplot = plots
    bar: Any = types.ModuleType("tqdm")
    bar.tqdm = lambda items, **_: items
    sys.modules["tqdm"] = bar
    report = importlib.import_module(MODULE)
    for name in DRAWING:  # pandas would take them for the real ones
        del sys.modules[name]
    return report


def _rollouts(report: Any, windows: list[dict[str, Any]]) -> list[Any]:
    """Windows as the release holds them; every window is a day of its own."""
    pandas = importlib.import_module("pandas")
    found = []
    for number, window in enumerate(windows):
        day = pandas.Timestamp(DAY) + pandas.Timedelta(days=number)
        start = day + pandas.Timedelta(minutes=window["minute"])
        times = [start + pandas.Timedelta(minutes=i) for i in range(len(window["Replay"]))]
        minutes = {
            source: [
                report.MinuteInfo(time, *row)
                for time, row in zip(times, window[source], strict=True)
            ]
            for source in ("Simulation", "Replay")
        }
        found.append(
            report.RolloutInfo(window["symbol"], start, minutes["Simulation"], minutes["Replay"])
        )
    return found


def _compute(report: Any, rollouts: list[Any], out: pathlib.Path) -> None:
    """Every computation of its `generate_stylized_facts`."""
    report.plot_return_autocorrelation(rollouts, out, price_type="mean")
    report.plot_return_autocorrelation(rollouts, out, price_type="last")
    report.plot_return_kurtosis(rollouts, out, "last")
    report.plot_return_skewness(rollouts, out)
    report.plot_return_intermittency(rollouts, out)
    report.plot_volatility_clustering(rollouts, out)
    report.plot_conditional_heavy_tails(rollouts, out)
    report.plot_leverage_effect(rollouts, out)
    report.plot_volume_volatility_correlation(rollouts, out)
    report.plot_timescale_asymmetry(rollouts, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", help="folder of the release's repository")
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(pathlib.Path(args.checkout).resolve()))
    report = _load()
    rollouts = _rollouts(report, json.loads(sys.stdin.readline()))
    about = {
        "python": platform.python_version(),
        "pandas": importlib.metadata.version("pandas"),
    }
    print(json.dumps(about), file=answers, flush=True)
    for _ in sys.stdin:
        with tempfile.TemporaryDirectory() as name:
            out = pathlib.Path(name)
            _compute(report, rollouts, out)
            tables = {
                path.stem: list(csv.DictReader(path.open(newline="")))
                for path in sorted(out.glob("*.csv"))
            }
        print(json.dumps(tables), file=answers, flush=True)


if __name__ == "__main__":
    main()
