"""What the commands share: how JAX is set up, and how far a run is."""

import contextlib
import os
import sys
from typing import Any

BAR_WIDTH = 30
TENTHS = 10
_shown = {"tenths": -1}  # of the last bar


def prepare_jax() -> None:
    """All cores as devices, compiled programs kept between runs."""
    import jax

    from jaxmars import devices

    with contextlib.suppress(RuntimeError):  # JAX runs already and keeps the devices it has
        devices.use_all_cores()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        folder = os.path.join(caches, "jaxmars", "xla")
        jax.config.update("jax_compilation_cache_dir", folder)


def show_bar(done: int, wanted: int, text: str) -> None:
    """A progress bar on stderr, over the one before it; into a file only every tenth of the way."""
    tenths = TENTHS * done // wanted
    if not sys.stderr.isatty() and done < wanted and tenths == _shown["tenths"]:
        return
    _shown["tenths"] = tenths
    filled = round(BAR_WIDTH * done / wanted)
    bar = "#" * filled + "." * (BAR_WIDTH - filled)
    print(f"\r[{bar}] {text}", end="", file=sys.stderr, flush=True)


def speed(pace: Any) -> float:
    """Events per second of a `sim.Pace`."""
    return pace.events / max(pace.run_seconds, 1e-9)
