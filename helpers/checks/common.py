"""What every exercise that checks itself says: not yet, a hint, or right."""

import math
import re
from collections.abc import Callable, Iterable
from functools import wraps

import numpy as np


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
        except Exception as error:  # a reader's function may fail anyhow
            print(
                "Not quite: this answer could not be checked. Python says "
                f"{type(error).__name__}: {error}"
            )
        return False

    return checked


# --- what was given, and what was expected --------------------------------------------


def described(answer) -> str:
    """Return in a few words what kind of value an answer is."""
    if answer is None:
        return "None"
    if isinstance(answer, str):
        return f"the text {answer[:40]!r}"
    if isinstance(answer, np.ndarray):
        return f"an array of shape {answer.shape} and type {answer.dtype}"
    if isinstance(answer, bool | int | float | np.generic):
        return f"{answer}"
    if callable(answer):
        return "a function"
    name = type(answer).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def number(answer, what: str = "the answer") -> float:
    """Return an answer as a float; `Hint` unless it is one finite number.

    An array of a single number counts as that number.
    """
    try:
        if isinstance(answer, str | bytes | bool | np.bool_) or answer is None:
            raise TypeError
        value = float(np.asarray(answer).item())
    except (TypeError, ValueError, OverflowError):
        quoted = " Leave out the quotes." if isinstance(answer, str) else ""
        raise Hint(
            f"{what} should be a number, and is {described(answer)}.{quoted}"
        ) from None
    if not math.isfinite(value):
        raise Hint(
            f"{what} is {value}, not a finite number. Was a mean taken of nothing, for "
            "instance where a comparison was never true?"
        )
    return value


def whole(answer, what: str = "the answer") -> int:
    """Return an answer as an int; `Hint` unless it is one whole number."""
    value = number(answer, what)
    if value != int(value):
        raise Hint(f"{what} should be a whole number, and is {value:g}.")
    return int(value)


def dictionary(answer, keys: Iterable, example: str) -> dict:
    """Return an answer that is a dictionary with just these keys; else raise `Hint`.

    `example`: what stands for a value in the hint's example.
    """
    keys = list(keys)
    form = "{" + ", ".join(f"{key!r}: {example}" for key in keys) + "}"
    if not isinstance(answer, dict):
        raise Hint(f"give a dictionary such as {form}; this is {described(answer)}.")
    if missing := [key for key in keys if key not in answer]:
        raise Hint(f"there is no {missing[0]!r} in your dictionary: {form}.")
    if extra := [key for key in answer if key not in keys]:
        raise Hint(f"{extra[0]!r} is not asked for: {form}.")
    return answer


def whole_numbers(
    answer,
    what: str = "the answer",
    from_mask: Callable[[int], str] | None = None,
) -> np.ndarray:
    """Return an answer as one row of whole numbers, [n]; else raise `Hint`.

    A list, tuple, set, range or anything that NumPy makes one row of counts.
    `from_mask`: how numbers come from a mask of so many True and False.
    """
    if answer is None or isinstance(answer, str | bytes | dict) or callable(answer):
        raise Hint(f"{what} should be whole numbers, and is {described(answer)}.")
    if isinstance(answer, set | frozenset):
        answer = list(answer)
    try:
        found = np.asarray(answer)
    except ValueError:  # lists of different lengths
        raise Hint(f"{what} should be one row of whole numbers.") from None
    if found.ndim != 1:
        raise Hint(
            f"{what} should be one row of whole numbers, and has shape {found.shape}. "
            "(np.nonzero puts its array into a tuple; np.flatnonzero does not.)"
        )
    if found.dtype == bool:
        way = from_mask(len(found)) if from_mask else "np.flatnonzero(mask) gives them."
        raise Hint(
            f"{what} is a mask of {len(found):,} True and False; numbers are asked "
            f"for: {way}"
        )
    if found.dtype.kind not in "iu":
        raise Hint(f"{what} should be whole numbers, and holds {found.dtype}.")
    return found


def positions(answer, from_mask: Callable[[int], str] | None = None) -> np.ndarray:
    """Return an answer as whole numbers, [n], none twice; else raise `Hint`.

    See `whole_numbers`.
    """
    found = whole_numbers(answer, from_mask=from_mask)
    if len(np.unique(found)) < len(found):
        raise Hint("the answer names something twice; each comes once.")
    return found


def named(answer, keys: Iterable[str]) -> set[str]:
    """Return which of `keys` an answer names, in any case; `Hint` for anything else.

    A text is read as its letters, or as words with commas between them: "acg",
    "a, c, g" and {"a", "c", "g"} are the same answer.
    """
    known = {str(key).lower(): key for key in sorted(keys)}
    example = ", ".join(f'"{key}"' for key in list(known.values())[:2])
    form = f"choose among {', '.join(known.values())}, as a set like {{{example}}}"
    if isinstance(answer, str):
        words = [word.strip(" \t\n\"'{}[]()") for word in answer.split(",")]
        if max(map(len, known)) == 1:
            parts = re.findall(r"\w+", answer)
            single = len(parts) == 1 or all(len(part) == 1 for part in parts)
            words = list("".join(parts)) if single else parts
        answer = words
    elif isinstance(answer, dict | bytes) or not np.iterable(answer):
        raise Hint(f"{form}; this is {described(answer)}.")
    given = {str(one).strip().lower() for one in answer} - {""}
    if strange := sorted(given - set(known)):
        raise Hint(f"{form}; {strange[0]!r} is none of them.")
    return {known[one] for one in given}


def check_choice(answer, hints: dict[str, str], fits: set[str], wrong: str) -> None:
    """Raise `Hint` unless `answer` names exactly the keys that fit (see `named`).

    `hints`: what to say of each key, fitting or not; `wrong`: what is said of a key
    that does not fit, such as "does not follow". A key too many is told before one too
    few.
    """
    chosen = named(answer, hints)
    for key in hints:
        if key in chosen - fits:
            raise Hint(f"({key}) {wrong}: {hints[key]}")
    if missing := [key for key in hints if key in fits - chosen]:
        raise Hint(f"{len(missing)} more to find. One of them: {hints[missing[0]]}")


def _has_ellipsis(answer) -> bool:
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple | set):
        return any(_has_ellipsis(part) for part in answer)
    return answer is ...
