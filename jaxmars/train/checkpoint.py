"""Checkpoints of a training run: its state and its place in the data, with orbax."""

import pathlib
import shutil
from typing import Any

import jax

from jaxmars.errors import InputError
from jaxmars.train.loop import TrainState
from jaxmars.train.sharding import divided

KEPT = 2  # newest checkpoints
STATE, PLACE = "state", "place"


class Checkpoints:
    """The checkpoints in a folder. A checkpoint is there whole or not at all."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Opens a folder, made if absent."""
        import orbax.checkpoint as ocp  # it adds a handler to the root logger when it is imported

        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEPT, create=True, enable_async_checkpointing=False
        )
        self.folder = folder
        self._orbax = ocp.args
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    @property
    def latest(self) -> int | None:
        """Step of the newest checkpoint, None without one."""
        return self._manager.latest_step()

    def save(self, state: TrainState, place: dict[str, Any]) -> None:
        """Adds a checkpoint and removes those older than the newest `KEPT`.

        Args:
          state: to go on from.
          place: of the stream, before the batch of the next step.

        Raises:
          InputError: it cannot be written; the checkpoints that were there stay.
        """
        step = int(state.step)
        if step == self.latest:
            return
        orbax = self._orbax
        parts = {STATE: orbax.StandardSave(state), PLACE: orbax.JsonSave(place)}
        needed, free = _num_bytes(state), shutil.disk_usage(self.folder).free
        try:
            if free < needed:  # orbax would print a traceback for every array that does not fit
                raise OSError(
                    f"No space left on device, {needed:,} bytes are needed, {free:,} free"
                )
            self._manager.save(step, args=orbax.Composite(**parts))
        except (OSError, ValueError) as error:
            kept = "no earlier one" if self.latest is None else f"that of step {self.latest}"
            raise InputError(
                f"the checkpoint of step {step} cannot be written to {self.folder}: "
                f"{error!s:.200}; {kept} is kept"
            ) from error

    def restore(self, template: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The newest checkpoint, divided over the devices that are here now.

        Args:
          template: shapes and dtypes, e.g. from `jax.eval_shape`.

        Returns:
          (state, place).

        Raises:
          InputError: it is damaged, or of another model or optimizer.
        """
        placed = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=divided(x)), template
        )
        orbax = self._orbax
        parts = {STATE: orbax.StandardRestore(placed), PLACE: orbax.JsonRestore()}
        try:
            found = self._manager.restore(self.latest, args=orbax.Composite(**parts))
        except Exception as error:  # orbax raises whatever its readers raise
            raise InputError(
                f"the checkpoint of step {self.latest} in {self.folder} cannot be read "
                f"({type(error).__name__}): delete its folder to go on from the one before"
            ) from error
        return TrainState(*found[STATE]), found[PLACE]

    def close(self) -> None:
        """Lets go of the folder."""
        self._manager.close()


def _num_bytes(state: TrainState) -> int:
    """Of all arrays together, on disk at most."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(state))
