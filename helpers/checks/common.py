"""What every exercise that checks itself says: not yet, a hint, or right."""

from collections.abc import Callable
from functools import wraps


class Hint(Exception):
    """A wrong answer; the message names the probable mistake and points to the way."""


class NotYet(Exception):
    """An answer that was not given; `exercise` raises it for `...` by itself."""


def exercise(check: Callable[..., str]) -> Callable[..., bool | None]:
    """Turn `check`, which returns why an answer is right, into a check for notebooks.

    `check(answer, ...)` raises `Hint` for a wrong answer. The result prints one line,
    never raises, and returns True (right), False (wrong) or None (left as `...`, also
    inside a list, tuple or dict).
    """

    @wraps(check)
    def checked(answer, *context) -> bool | None:
        try:
            if _has_ellipsis(answer):
                raise NotYet(
                    "replace the ... with your answer and run both cells again."
                )
            print(f"Right: {check(answer, *context)}")
            return True
        except NotYet as message:
            print(f"Not yet: {message}")
            return None
        except Hint as message:
            print(f"Not quite: {message}")
        except Exception as error:  # an answer may be anything, and may fail anyhow
            print(
                "Not quite: this answer could not be checked. Python says "
                f"{type(error).__name__}: {error}"
            )
        return False

    return checked


def check_choice(answer, fits: dict[str, str], others: dict[str, str]) -> None:
    """Raise `Hint` unless `answer` names exactly the keys of `fits`, in any case.

    `fits`: what belongs to the answer, with a hint where to find it; `others`: what
    does not, with the reason. A string is read as its letters. A wrong key is told
    before a missing one.
    """
    known = {key.lower(): key for key in (*fits, *others)}
    named = {str(key).strip().lower() for key in answer}
    if not named <= set(known):
        examples = ", ".join(f'"{key}"' for key in sorted(known.values())[:2])
        raise Hint(
            f"choose from {', '.join(sorted(known.values()))}, as a set such as "
            f"{{{examples}}}."
        )
    for key, why in others.items():
        if key.lower() in named:
            raise Hint(f"({key}) {why}")
    missing = [key for key in fits if key.lower() not in named]
    if missing:
        raise Hint(f"{len(missing)} more to find. One of them: {fits[missing[0]]}")


def _has_ellipsis(answer) -> bool:
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple | set):
        return any(_has_ellipsis(part) for part in answer)
    return answer is ...
