"""What a run reports, line by line: JSON lines for programs, event files for TensorBoard."""

import json
import math
import pathlib
import time
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from jaxmars.errors import InputError
from jaxmars.files import write_atomically

LINES = "metrics.jsonl"
EVENTS = "tensorboard"
STEP = "step"
START = 1  # of a session, in the protocol of event files


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a file, [] without one. A last line that was cut off is left out; null, a number
    that is not known, is nan.

    Raises:
      InputError: a line that is no JSON object with a step.
    """
    if not path.exists():
        return []
    texts = path.read_text().split("\n")
    found = []
    for number, text in enumerate(texts[:-1], 1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict) or not isinstance(line.get(STEP), int):
            raise InputError(
                f"{path} line {number} is {text!r:.80}, expected a JSON object with a step"
            )
        found.append({key: math.nan if value is None else value for key, value in line.items()})
    return found


def _text(line: dict[str, Any]) -> str:
    """A line as JSON, which has no nan."""
    known = lambda x: None if isinstance(x, float) and not math.isfinite(x) else x
    return json.dumps({key: known(value) for key, value in line.items()}, allow_nan=False) + "\n"


class Log:
    """Appends lines of numbers by step to a folder."""

    def __init__(self, folder: pathlib.Path, step: int) -> None:
        """Opens the log of a run that goes on after `step`; later lines are taken back.

        Raises:
          InputError: the lines there are damaged.
        """
        self.path = folder / LINES
        lines = read_lines(self.path)
        kept = [line for line in lines if line[STEP] <= step]
        text = "".join(map(_text, kept))
        write_atomically(self.path, lambda path: path.write_text(text))
        self._file = self.path.open("a")
        self._events = _Events(folder / EVENTS, step)

    def add(self, step: int, numbers: dict[str, float]) -> None:
        """One line, on disk when this returns."""
        self._file.write(_text({STEP: step, **numbers}))
        self._file.flush()
        self._events.add(step, {k: x for k, x in numbers.items() if math.isfinite(x)})

    def close(self) -> None:
        """Lets go of the files."""
        self._file.close()
        self._events.close()


class _Events:
    """The event file of a run. The writer of tensorboardX itself has a thread and a hook at the
    exit of Python, which print tracebacks when the disk is full; here an error is only raised."""

    def __init__(self, folder: pathlib.Path, step: int) -> None:
        """Opens a new file, which takes back what other files of the folder hold after `step`."""
        folder.mkdir(exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))
        self._write(step + 1, session_log={"status": START})

    def add(self, step: int, numbers: dict[str, float]) -> None:
        """The numbers of one step, on disk when this returns."""
        values = [{"tag": name, "simple_value": value} for name, value in numbers.items()]
        self._write(step, summary={"value": values})

    def close(self) -> None:
        """Lets go of the file."""
        self._writer.close()

    def _write(self, step: int, **content: Any) -> None:
        """One event."""
        event = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
        self._writer.write_event(event(wall_time=time.time(), step=step, **content))
        self._writer.flush()
