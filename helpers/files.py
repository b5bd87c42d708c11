"""Files that appear whole or not at all."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from helpers.config import CourseError

DAY = 24 * 3600


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears at `path` only once it is complete and on the disk.

    Until then the bytes are in a file beside it, and what was at `path` stays. Raises
    `CourseError` when it cannot be written, as on a full disk.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for abandoned in path.parent.glob("*.[0-9]*.tmp"):  # of killed processes
            if time.time() - abandoned.lstat().st_mtime > DAY:
                abandoned.unlink(missing_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        kept = " The file that was there is kept." if path.exists() else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, None)
        way = "Free some space" if full else "Make its folder writable"
        raise CourseError(
            f"{path} cannot be written: {error.strerror or error}.{kept} {way}, or set "
            "BRAIN_MRI_CACHE to a folder on another disk."
        ) from None
    finally:
        with suppress(OSError):  # on a disk that cannot be written: that was told
            temporary.unlink(missing_ok=True)
