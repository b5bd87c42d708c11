"""Score your predictions on the benchmark, or record an experiment for everybody.

    python -m helpers.experiments template > mine.csv
    python -m helpers.experiments score mine.csv

`template` writes the images that are scored, with their folds. Fill each row with the
probabilities of a model that was trained on the other folds only; `score` checks the
file, scores it and says what may be claimed. Neither needs an image or a GPU.

    python -m helpers.experiments list
    python -m helpers.experiments features-imagenet-224
    python -m helpers.experiments linear-probe-official --choose
    python -m helpers.experiments linear-probe-official

`--choose` compares candidates on an inner validation part of Training and writes the
plan to data/recorded/plans/NAME.json. The run itself refuses to start before that plan
is committed, looks at the test images once, and counts its looks.

Experiments need the real images (BRAIN_MRI_DATA) and ImageNet weights
(BRAIN_MRI_WEIGHTS).
"""

import argparse
import sys
from pathlib import Path

from helpers import benchmark
from helpers.config import CourseError, command

from .records import choose, commit
from .registry import EXPERIMENTS


@command
def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        choices=["list", "template", "score", *EXPERIMENTS],
        help="list, template, score, or an experiment that list shows",
    )
    parser.add_argument(
        "predictions",
        metavar="PREDICTIONS.csv",
        nargs="?",
        type=Path,
        help="with score: columns filename and one for each class, a row an image",
    )
    parser.add_argument(
        "--choose",
        action="store_true",
        help="compare the candidates on the inner validation part and write the plan",
    )
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="go through the motions on a few small training images; record nothing",
    )
    parser.add_argument(
        "--look-again",
        action="store_true",
        help="score the test images once more; the record counts it",
    )
    parser.add_argument(
        "--tumors",
        action="store_true",
        help="with template: the primary part only, three tumor classes",
    )
    asked = parser.parse_args(arguments)
    if (asked.name == "score") != (asked.predictions is not None):
        parser.error("score needs a file of predictions, and only score takes one")
    if asked.name == "template":
        wanted = benchmark.TUMORS if asked.tumors else benchmark.CLASSES
        print(benchmark.template(wanted), end="")
        return 0
    if asked.name == "list":
        for experiment in EXPERIMENTS.values():
            print(f"{experiment.name}\n    {experiment.summary}")
        return 0
    try:
        if asked.name == "score":
            print(benchmark.report(benchmark.read(asked.predictions)))
            return 0
        experiment = EXPERIMENTS[asked.name]
        commit()  # of the code that runs from here on
        if asked.choose and not (experiment.candidates or experiment.choose):
            raise CourseError(
                f"{experiment.name} has nothing to choose: run it plainly."
            )
        if asked.rehearse and not experiment.rehearse:
            raise CourseError(f"{experiment.name} has no rehearsal.")
        if asked.rehearse:
            experiment.rehearse(experiment)
        elif asked.choose:
            (experiment.choose or choose)(experiment)
        else:
            experiment.run(experiment, asked.look_again)
    except CourseError as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
