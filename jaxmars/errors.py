"""The one exception users see for bad input. The command line prints its sentence and exits 2."""


class InputError(ValueError):
    """Bad input from outside: a file, a flag, a checkpoint, a request.

    The message is one sentence that says what is wrong, where, and what was expected.
    """
