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


def check_choice(answer, hints: dict[str, str], fits: set[str], wrong: str) -> None:
    """Raise `Hint` unless `answer` names exactly the keys that fit, in any case.

    `hints`: what to say of each key, fitting or not; `wrong`: what is said of a key
    that does not fit, such as "does not follow". A string is read as its letters. A key
    too many is told before one too few.
    """
    known = {key.lower(): key for key in hints}
    named = {str(key).strip().lower() for key in answer}
    if not named <= set(known):
        raise Hint(f"choose among {', '.join(sorted(hints))}, as a set.")
    named = {known[key] for key in named}
    for key in hints:
        if key in named - fits:
            raise Hint(f"({key}) {wrong}: {hints[key]}")
    if missing := [key for key in hints if key in fits - named]:
        raise Hint(f"{len(missing)} more to find. One of them: {hints[missing[0]]}")


def _has_ellipsis(answer) -> bool:
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple | set):
        return any(_has_ellipsis(part) for part in answer)
    return answer is ...
