"""Checks for chapter 14, Review a paper, then your own model."""

from helpers import recorded
from helpers.audit import manifest

from .common import Hint, check_choice, dictionary, exercise, whole

__all__ = ["ch14_card", "ch14_new", "ch14_questions", "ch14_review"]

QUESTIONS = {
    1: ((1,), "“unseen” is a claim about who was in the training."),
    2: ((6,), "one number for four classes: ask which class pays."),
    4: ((4,), "a margin over what? Ask what can be had without knowing a tumor."),
    7: ((2,), "the held-out images are the test. Ask who chose, and on what."),
    8: ((3,), "another collection: ask what the negative class consists of."),
    10: ((5, 7), "ask what an interval says about how far the number would move."),
}


@exercise
def ch14_questions(answer) -> str:
    """Check which of the eight questions each sentence of the paper leaves open."""
    answer = dictionary(answer, QUESTIONS, "...")
    for sentence, (questions, why) in QUESTIONS.items():
        given = whole(answer[sentence], f"({sentence})")
        if given not in range(1, 9):
            raise Hint(f"({sentence}) the questions are numbered 1 to 8.")
        if given not in questions:
            raise Hint(f"({sentence}) {why}")
    return (
        "each of the first six questions fits one of them, and (3) asks for the "
        "seventh, which fits (10) too."
    )


def _new_to_training() -> dict[str, int]:
    """Count official test images by what they share with Training."""
    rows = manifest.load().set_index("filename")
    learned = rows[(rows["split"] == "Training") & rows["group"].notna()]
    tested = rows.loc[recorded.load("seed-recipe").filenames]
    shares = {
        name: tested[name].isin(learned[name].dropna())
        for name in ("group", "series", "patient")
    }
    shared = shares["group"] | shares["series"] | shares["patient"]
    return {
        "new": int((~shared).sum()),
        "known": int(shared.sum()),
        "no slice": int((~shares["group"]).sum()),
        "no series": int((~(shares["group"] | shares["series"])).sum()),
        "no patient": int((~shares["patient"]).sum()),
    }


@exercise
def ch14_new(answer) -> str:
    """Check how many test images share nothing known with Training."""
    counts = _new_to_training()
    number = whole(answer)
    if number == counts["known"]:
        raise Hint("these are the images that do share something. Take the others.")
    if number == counts["no slice"]:
        raise Hint("their slice is not there, but a series or a patient may be.")
    if number == counts["no series"]:
        raise Hint("neither slice nor series; some of them share a known patient.")
    if number == counts["no patient"]:
        raise Hint(
            "where no patient is known, none is shared. Ask for slice and series too."
        )
    if number != counts["new"]:
        raise Hint(
            "~(shares['group'] | shares['series'] | shares['patient']) marks those "
            "that share none of the three."
        )
    return f"{number} of {counts['known'] + number}, and all without a known patient."


REVIEW = {
    "a": "say what was done well, if it was.",
    "c": "one names what was found, blames nobody, and asks for a test one can run.",
    "d": "one asks for the scores that every number needs beside it.",
    "f": "one asks to take a claim back that was not measured.",
    "h": "one names who chose the epoch, and two ways out.",
    "b": "worthless was not shown: one sees no difference where the slice is missing.",
    "e": "it takes the claim for granted: no sensitivity for tumors was measured.",
    "g": "you cannot know that, and it does not matter for what the paper shows.",
}


@exercise
def ch14_review(answer) -> str:
    """Check which sentences a fair review may hold."""
    fair = {"a", "c", "d", "f", "h"}
    check_choice(answer, REVIEW, fair, "does not belong there")
    return "what was good, what was found, and four requests that can be fulfilled."


HOLES = {"chosen on", "looks", "macro-F1", "over the linear probe", "not shown"}
CARD = {
    "chosen on": "twelve settings were compared on what is reported.",
    "looks": "if twelve settings were scored on the folds, how many looks is that?",
    "macro-F1": "slices of one patient hang together. Who should be drawn?",
    "over the linear probe": "a difference needs an interval of its own, in pairs.",
    "not shown": "no test shows everything. Name the hospitals, and the people.",
    "model": "it says what was trained.",
    "images": "it names the collection and its version.",
    "task": "it is the benchmark's, on its folds.",
    "augmentation": "flips are fine after splitting, where twins are kept.",
    "seeds": "three seeds are few and stated; that is all one can ask.",
}


@exercise
def ch14_card(answer) -> str:
    """Check which entries of a model's card need a change or an explanation."""
    check_choice(answer, CARD, HOLES, "may stay")
    return (
        "the settings were chosen on the score, and so the look was not one; patients "
        "should be drawn, for the score and for the difference; and something is "
        "always not shown."
    )
