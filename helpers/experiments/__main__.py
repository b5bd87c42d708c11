"""Run an experiment on the real images once, and record it for everybody.

    python -m helpers.experiments list
    python -m helpers.experiments features-imagenet-224
    python -m helpers.experiments linear-probe-official --choose
    python -m helpers.experiments linear-probe-official

`--choose` compares candidates on an inner validation part of Training and writes the
plan to data/recorded/plans/NAME.json. The run itself refuses to start before that plan
is committed, looks at the test images once, and counts its looks.

Needs the real images (BRAIN_MRI_DATA) and ImageNet weights (BRAIN_MRI_WEIGHTS).
"""

import argparse
import sys

from helpers.config import CourseError

from .records import choose
from .registry import EXPERIMENTS


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=["list", *EXPERIMENTS])
    parser.add_argument(
        "--choose",
        action="store_true",
        help="compare the candidates on the inner validation part and write the plan",
    )
    parser.add_argument(
        "--look-again",
        action="store_true",
        help="score the test images once more; the record counts it",
    )
    asked = parser.parse_args(arguments)
    if asked.name == "list":
        for experiment in EXPERIMENTS.values():
            print(f"{experiment.name}\n    {experiment.summary}")
        return 0
    experiment = EXPERIMENTS[asked.name]
    try:
        if asked.choose and not (experiment.candidates or experiment.choose):
            raise CourseError(
                f"{experiment.name} has nothing to choose: run it plainly."
            )
        if asked.choose:
            (experiment.choose or choose)(experiment)
        else:
            experiment.run(experiment, asked.look_again)
    except CourseError as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
