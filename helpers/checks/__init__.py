"""Checks for the exercises, one module a chapter; notebooks call `checks.<name>`.

Each check is made with `common.exercise`: it prints a hint, "Right" or "Not yet".
"""

from .chapter01 import *  # noqa: F403
from .chapter02 import *  # noqa: F403
from .chapter03 import *  # noqa: F403
from .chapter04 import *  # noqa: F403
from .chapter05 import *  # noqa: F403
from .chapter06 import *  # noqa: F403
from .chapter07 import *  # noqa: F403
from .chapter08 import *  # noqa: F403
from .chapter09 import *  # noqa: F403
from .chapter10 import *  # noqa: F403
from .chapter11 import *  # noqa: F403
from .chapter12 import *  # noqa: F403
from .chapter13 import *  # noqa: F403
from .chapter14 import *  # noqa: F403
