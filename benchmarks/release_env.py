"""The release's noise market (microsoft/MarS) in a process of its own, driven over pipes.

`ReleaseMarket` starts this file with the interpreter the release is installed for; the file then
reads one seed per line and answers each with one line of JSON: what happened in that session. Only
the standard library is imported here besides the release itself.
"""

import argparse
import collections
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
from types import TracebackType
from typing import Any

SYMBOL = "000000"
DAY = "2024-01-01"
PRICE_UNITS = 100_000  # its first price, as in its examples
UNITS_PER_TICK = 100
MEAN_GAP = 1  # seconds
IMPORTS = (
    ("market_simulation.agents.noise_agent", "NoiseAgent"),
    ("market_simulation.states.trade_info_state", "TradeInfoState"),
    ("mlib.core.env", "Env"),
    ("mlib.core.event", "create_exchange_events"),
    ("mlib.core.exchange", "Exchange"),
    ("mlib.core.exchange_config", "create_exchange_config_without_call_auction"),
    ("pandas", "Timestamp"),
)


class ReleaseMarket:
    """Sessions of the release's `Env` with its `NoiseAgent`; a context manager."""

    def __init__(self, checkout: str, python: str, start: str, end: str) -> None:
        """Starts it.

        Args:
          checkout: folder of the release's repository.
          python: interpreter that can import it.
          start, end: of a session, `HH:MM:SS`.
        """
        command = [python, os.path.abspath(__file__), checkout, start, end]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.about = self._answer()

    def run(self, seed: int) -> dict[str, Any]:
        """One session; see `_session` for what it returns."""
        assert self._process.stdin
        self._process.stdin.write(f"{seed}\n")
        self._process.stdin.flush()
        return self._answer()

    def __enter__(self) -> "ReleaseMarket":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the release's process ended with {self._process.wait()}")
        return json.loads(line)


def _load() -> Any:
    """What the release's own example `run_simulation` imports, by name."""
    return type(
        "Release",
        (),
        {
            name: staticmethod(getattr(importlib.import_module(module), name))
            for module, name in IMPORTS
        },
    )


def _session(release: Any, start: str, end: str, seed: int) -> dict[str, Any]:
    """One session, and what it did: wake-ups that acted, records and their types, traded shares,
    last price in ticks."""
    opens, closes = (release.Timestamp(f"{DAY} {clock}") for clock in (start, end))
    config = release.create_exchange_config_without_call_auction(
        market_open=opens, market_close=closes, symbols=[SYMBOL]
    )
    exchange = release.Exchange(config)
    exchange.register_state(release.TradeInfoState())
    env = release.Env(exchange=exchange)
    agent = release.NoiseAgent(
        symbol=SYMBOL,
        init_price=PRICE_UNITS,
        interval_seconds=MEAN_GAP,
        start_time=opens,
        end_time=closes,
        seed=seed,
    )
    env.register_agent(agent)
    events = release.create_exchange_events(config)
    env.push_events(events)
    wakes = 0
    for observation in env.env():
        env.step(observation.agent.get_action(observation))
        wakes += observation.time <= closes
    records = exchange.states()[SYMBOL]["TradeInfoState"].trade_infos
    kinds = collections.Counter(record.order.type for record in records)
    trades = [t for record in records for t in record.transactions if t.type != "C"]
    return {
        "wakes": wakes,
        "records": len(records),
        "sells": kinds["S"],
        "buys": kinds["B"],
        "cancels": kinds["C"],
        "shares": sum(t.volume for t in trades),
        "last_price": records[-1].lob_snapshot.last_price // UNITS_PER_TICK,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", help="folder of the release's repository")
    parser.add_argument("start", help="of a session, HH:MM:SS")
    parser.add_argument("end", help="of a session, HH:MM:SS")
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # it draws a progress bar and logs there
    sys.path.insert(0, str(pathlib.Path(args.checkout).resolve()))
    release = _load()
    about = {
        "python": platform.python_version(),
        "pandas": importlib.metadata.version("pandas"),
    }
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        found = _session(release, args.start, args.end, int(line))
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
