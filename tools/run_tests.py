"""Runs every test: `python -m tools.run_tests`, what `make test` does.

In order: format and linter, the book (reused if nothing changed), then one pytest run
over tests/ and, through nbval, over every notebook in the smoke profile. All steps run
even if one fails. The last line says what could not run; with REQUIRE_BROWSER=1 (CI)
that is a failure.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from tools.dependencies import ROOT

JUNIT = ROOT / "_build" / "junit.xml"
BROWSER_TESTS = "tests.test_browser"


@dataclass(frozen=True)
class Counts:
    """How many tests ran, and which browser tests were skipped, by name."""

    ran: int
    browser_ran: int
    browser_skipped: tuple[str, ...]


def step(title: str, *command: str, **env: str) -> bool:
    """Run a command under a title; return whether it succeeded."""
    print(f"\n== {title}", flush=True)
    return not subprocess.run(command, cwd=ROOT, env={**os.environ, **env}).returncode


def counts(junit: Path) -> Counts:
    """Read what ran from pytest's JUnit file; nothing ran if there is none."""
    if not junit.is_file():
        return Counts(0, 0, ())
    ran = browser_ran = 0
    skipped = []
    for case in ElementTree.parse(junit).iter("testcase"):
        browser = case.get("classname", "").startswith(BROWSER_TESTS)
        if case.find("skipped") is None:
            ran += 1
            browser_ran += browser
        elif browser:
            skipped.append(case.get("name", "").split("[")[0])
    return Counts(ran, browser_ran, tuple(dict.fromkeys(skipped)))


def closing(found: Counts) -> str:
    """Return the last line: what did not run, or that everything did."""
    if found.browser_skipped:
        names = ", ".join(found.browser_skipped)
        return (
            f"Not run, for want of Chromium: {names}. Install chromium, or name yours: "
            "make test CHROMIUM=/path/to/chromium"
        )
    return f"All {found.ran} tests ran, {found.browser_ran} of them in the browser."


def main() -> int:
    """Run all steps and print the closing line; return an exit status."""
    if not (ROOT / "tests").is_dir():
        print("This copy has no tests: it is the workshop's. They are in the clone.")
        return 2
    JUNIT.unlink(missing_ok=True)
    python = sys.executable
    passed = [
        step("format", python, "-m", "ruff", "format", "--check", "."),
        step("linter", python, "-m", "ruff", "check", "."),
        step("book", python, "-m", "tools.book"),
        step(
            "tests",
            *(python, "-m", "pytest", "tests", "chapters"),
            *("-n", "2", "--dist", "loadfile", "--durations", "10"),
            *("--nbval-lax", "--nbval-current-env", f"--junitxml={JUNIT}"),
            COURSE_PROFILE="smoke",
        ),
    ]
    found = counts(JUNIT)
    incomplete = not found.ran or (
        os.environ.get("REQUIRE_BROWSER") == "1"
        and (found.browser_skipped or not found.browser_ran)
    )
    print(closing(found))
    return 0 if all(passed) and not incomplete else 1


if __name__ == "__main__":
    raise SystemExit(main())
