"""Files as bytes, decompressed by their suffix."""

import gzip
import lzma
import pathlib
import zipfile
import zlib

from jaxmars.errors import InputError, quote

_MAX_EXPANSION = 200  # a compressed table grows 5 to 50 times; more is an attack
_MIN_ALLOWANCE = 2**20  # bytes any compressed file may expand to
_MAX_NAMES = 4  # files of an archive that an error names


def read_bytes(path: pathlib.Path, what: str, member: str = "") -> bytes:
    """Content of a file, decompressed by its suffix, without trailing blank lines.

    Args:
      path: a plain file, or one compressed as .gz, .xz or a .zip of one file.
      what: the file is expected to be, for errors.
      member: part of the name of the one file that is meant in a .zip of several.

    Raises:
      InputError: no such file, a damaged or empty one, or one that expands beyond all tables.
    """
    try:
        compressed = path.stat().st_size
        limit = max(_MAX_EXPANSION * compressed, _MIN_ALLOWANCE)
        suffix = path.suffix.lower()
        if suffix == ".gz":
            with gzip.open(path) as file:
                content = file.read(limit + 1)
        elif suffix == ".xz":
            with lzma.open(path) as file:
                content = file.read(limit + 1)
        elif suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                with archive.open(_member(path, archive.namelist(), member)) as file:
                    content = file.read(limit + 1)
        else:
            content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist, expected a {what}") from None
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is not a whole {path.suffix} file: {error}") from error
    except (OSError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if len(content) > limit:
        raise InputError(f"{path} expands to over {limit} bytes, expected a {what}")
    content = content.rstrip()
    if not content:
        raise InputError(f"{path} is empty, expected a {what}")
    return content


def _member(path: pathlib.Path, names: list[str], part: str) -> str:
    """The one file of an archive, or the one with `part` in its name."""
    files = [name for name in names if not name.endswith("/")]
    if len(files) > 1 and part:
        meant = [name for name in files if part in name.rpartition("/")[2]]
        files = meant if len(meant) == 1 else files
    if len(files) == 1:
        return files[0]
    shown = ", ".join([quote(name) for name in files[:_MAX_NAMES]])
    shown += ", …" if len(files) > _MAX_NAMES else ""
    alone = f"one table, or one file with {part} in its name" if part else "one table"
    raise InputError(
        f"{path} holds {len(files)} files{f' ({shown})' if files else ''}, expected {alone}; "
        "unpack it and pass the table itself"
    )
