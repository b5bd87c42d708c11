"""The troubleshooting page quotes the course's real messages, and all of them."""

import ast
import re

import pytest

from helpers.config import ROOT

PAGE = ROOT / "chapters" / "troubleshooting.md"
SYMPTOMS = "\n".join(re.findall(r"^\*\*.*\*\*", PAGE.read_text(), re.MULTILINE))
QUOTED = re.findall(r"`([^`]+)`", SYMPTOMS)
# Where a reader's data, weights, disk or training can go wrong. Functions that only
# check their arguments (evaluation) say all there is to say in the message.
READERS = ("config", "recorded", "batches", "densenet", "training", "checkpoint")
READERS += ("devices", "plan", "training_data", "train")
READERS += tuple(
    f"datasets/{name}" for name in ("dataset", "folder", "kaggle", "ph*", "walk")
)
SOURCES = sorted([*ROOT.glob("helpers/**/*.py"), *ROOT.glob("tools/*.py")])
# Said by make, the system, uv, Python, TensorFlow, JAX, CUDA, git and Colab.
FOREIGN = {
    "make: command not found",
    "No space left on device",
    "has no wheels with a matching platform tag",
    "ModuleNotFoundError: No module named 'helpers'",
    "NameError: name 'data' is not defined",
    "OOM when allocating",
    "Cannot connect to GPU backend",
    "fatal: repository 'course' does not exist",
}


def words(node: ast.AST) -> str:
    """Return the fixed words of a message, with … for what is filled in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.FormattedValue):
        return "…"
    return "".join(words(child) for child in ast.iter_child_nodes(node))


def fragments(message: str) -> list[str]:
    return [part.strip() for part in message.split("…") if len(part.strip()) > 3]


def raised() -> list[tuple[str, str]]:
    """Return (file and line, fixed words) of every error that a reader can meet."""
    found = []
    for path in (path for name in READERS for path in ROOT.glob(f"helpers/{name}.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Raise)
                and isinstance(node.exc, ast.Call)
                and getattr(node.exc.func, "id", "")
                in ("CourseError", "DeviceFull", "Unusable")
            ):
                found.append((f"{path.name}:{node.lineno}", words(node.exc)))
    return found


@pytest.mark.parametrize("message", [pytest.param(m, id=w) for w, m in raised()])
def test_every_error_a_reader_can_meet_has_a_way_out(message):
    quotes = [fragments(quote) for quote in QUOTED]
    assert any(quote and all(part in message for part in quote) for quote in quotes), (
        f"{PAGE.name} does not quote {message!r}"
    )


@pytest.mark.parametrize("quote", [q for q in QUOTED if q.count(" ") > 2])
def test_every_quoted_message_is_a_real_one(quote, everything_said):
    assert quote in FOREIGN or all(f in everything_said for f in fragments(quote))


@pytest.fixture(scope="module")
def everything_said() -> str:
    makefile = (ROOT / "Makefile").read_text().replace("$(or $(PYTHON),", "…")
    return makefile + "".join(words(ast.parse(path.read_text())) for path in SOURCES)
