"""What breaks the network? Slices that nobody learned from, changed in known ways.

Asked are candidates of `whole-leak-free` on the fold that chose among them: one that
was trained with augmentation, one without, all else equal, and the frozen network with
a head, which is a linear classifier. Recorded are answers by file name and change.
"""

import time
from dataclasses import replace

import numpy as np
from scipy import ndimage

from helpers import benchmark, evaluation, stress
from helpers.audit import manifest
from helpers.config import SEED
from helpers.datasets import figshare, load_dataset

from . import whole
from .explain import lesion_masks
from .pieces import Piece, decided_by, piece, stated
from .real import RealData, imagenet_name, load_real
from .records import (
    Experiment,
    committed_plan,
    describe,
    info,
    next_look,
    sha256,
    write,
)

OF = "whole-leak-free"
AS_IT_IS = "as it is"
HEAD_ONLY = "head only"
FRAMES = ("frame of the same class", "frame of another class")
PARTS = ("lesion covered", "elsewhere covered", "only the lesion", "only elsewhere")
GREYS = ("greys of the same class", "greys of the other source")
# The lesion's outline, widened by this share of the width: its rim is part of it.
RIM = 0.02


def variants() -> list[str]:
    """Return the names of everything that is done to a slice, in their order."""
    made = [
        f"{name} {severity}"
        for name, one in stress.STRESSES.items()
        for severity in range(1, 1 + len(one.strengths))
    ]
    return [AS_IT_IS, *made, *FRAMES, *PARTS, *GREYS]


def changed(
    variant: str,
    images: np.ndarray,
    labels: np.ndarray,
    masks: np.ndarray,
    donors: dict[int, np.ndarray],
    donor_labels: np.ndarray,
) -> np.ndarray:
    """Return images, uint8 [n, pixels, pixels], after one of `variants`.

    `masks`: the lesions, bool, empty where none is known; `donors`: {label: images} of
    slices that were learned from; `donor_labels` [n]: the other class whose frame and
    greys a slice gets. What needs a lesion leaves slices without one as they are.
    """
    if variant == AS_IT_IS:
        return images
    name, _, severity = variant.rpartition(" ")
    if name in stress.STRESSES:
        return stress.stressed(images, name, int(severity), SEED)
    found = []
    for row, image in enumerate(images):
        rng = np.random.default_rng((SEED, row))
        own, other = donors[int(labels[row])], donors[int(donor_labels[row])]
        giver = {FRAMES[0]: own, FRAMES[1]: other, GREYS[0]: own, GREYS[1]: other}
        if variant in FRAMES:
            chosen = giver[variant][rng.integers(len(giver[variant]))]
            found.append(stress.in_frame_of(image, chosen))
        elif variant in GREYS:
            some = rng.integers(0, len(giver[variant]), 20)
            found.append(stress.greys_of(image, giver[variant][some]))
        elif not masks[row].any():
            found.append(image)
        else:
            away = stress.elsewhere(masks[row], image > stress.BACKGROUND, rng)
            mask = masks[row] if "lesion" in variant else away
            act = stress.covered if "covered" in variant else stress.only
            found.append(act(image, mask))
    return np.stack(found)


def network_key(name: str, real: RealData, part) -> dict:
    """Return the key of one network: a candidate's own, or the head's alone."""
    fold = {"scored_on": [whole.CHOSEN_ON]}
    fold["manifest_sha256"] = sha256(manifest.PATH.read_text())
    if name != HEAD_ONLY:
        plan = whole.CANDIDATES[name][0].as_dict()
        return whole.key_of(OF, plan, real, part, SEED, candidate=name, **fold)
    pilot = whole.CANDIDATES["pilot"][0]
    plan = replace(pilot, stages=pilot.stages[:1]).as_dict()
    return whole.key_of("stress-candidates", plan, real, part, SEED, **fold)


def setting(real: RealData, part, pixels: int) -> dict:
    """Return what `changed` takes, for the scored slices of one part."""
    images = load_dataset(pixels=pixels).images
    rows, labels = part.score, real.labels
    masks = np.zeros((len(rows), pixels, pixels), bool)
    outlined = real.rows["figshare_index"].iloc[rows].notna().to_numpy(bool)
    drawn = lesion_masks(real.rows.iloc[rows[outlined]], pixels).astype(bool)
    width = max(1, round(RIM * pixels))
    masks[outlined] = [ndimage.binary_dilation(m, iterations=width) for m in drawn]
    rng = np.random.default_rng(SEED)
    donors = {
        int(label): images[
            np.sort(rng.permutation(part.fit[labels[part.fit] == label])[:200])
        ]
        for label in np.unique(labels)
    }
    step = rng.integers(1, len(donors), len(rows))
    return {
        "images": images[rows],
        "labels": labels[rows],
        "masks": masks,
        "donors": donors,
        "donor_labels": (labels[rows] + step) % len(donors),
    }


def answers_of(key: dict, real: RealData, part, name: str) -> Piece:
    """Return what one network answers to every variant of the scored slices."""

    def compute() -> dict[str, np.ndarray]:
        trained = whole.fine_tune(key["network"], real, part)
        these = setting(real, part, key["network"]["plan"]["pixels"])
        said = []
        for variant in variants():
            seen = changed(variant, **these)
            said.append(trained.model.predict(seen, batch_size=64, verbose=0))
            print(f"{name}: {variant}", flush=True)
        return {
            "said": np.round(np.stack(said), 4).astype(np.float32),
            "donor_labels": these["donor_labels"].astype(np.int8),
            "has_lesion": these["masks"].any(axis=(1, 2)),
        }

    return piece(key, compute)


def run_stress(experiment: Experiment, look_again: bool) -> None:
    """Ask every network of the plan about every variant; record the answers."""
    plan, plan_sha256 = committed_plan(experiment.name)
    looks = next_look(experiment.name, look_again)
    started, real = time.perf_counter(), load_real()
    figshare.root()  # or say what is missing
    part = whole.fold_part(real, whole.CHOSEN_ON)
    networks = plan["chosen"]["networks"]
    found = []
    for name in networks:
        network = network_key(name, real, part)
        key = decided_by(
            real,
            whole.learned_from(network["plan"], part),
            name=experiment.name,
            plan_sha256=plan_sha256,
            look=looks,
            network=network,
            scored_on=[whole.CHOSEN_ON],
        )
        found.append(answers_of(key, real, part, name))
    rows = real.rows.iloc[part.score]
    arrays = {
        "filenames": real.data.table["file"].to_numpy(str)[part.score],
        "labels": real.labels[part.score].astype(np.int8),
        "patient": rows["patient"].fillna(-1).to_numpy(np.int32),
        "series": rows["series"].to_numpy(np.int32),
        "class_names": np.array(real.data.class_names),
        "networks": np.array(networks),
        "variants": np.array(variants()),
        "said": np.stack([p.arrays["said"] for p in found]),
        "donor_labels": found[0].arrays["donor_labels"],
        "has_lesion": found[0].arrays["has_lesion"],
    }
    about = info(
        experiment,
        describe(real),
        protocol=experiment.summary,
        wall_seconds=time.perf_counter() - started,
        weights=imagenet_name(),
    )
    about |= {
        "manifest_sha256": sha256(manifest.PATH.read_text()),
        "plan_sha256": plan_sha256,
        "plan": plan["chosen"],
        "forecast": plan["forecast"],
        "looks": looks,
        "seeds": [SEED],
        "num_scored": len(part.score),
        "pieces": stated(found),
        "results": results_of(arrays),
    }
    write(about, **arrays)


def tumor_answers(arrays: dict[str, np.ndarray]):
    """Return labels, answers [networks, variants, n, 3] and patients of tumor slices.

    Those of known patients; the answers are restricted to the three tumor classes, as
    the benchmark's first task has it.
    """
    names = [str(name) for name in arrays["class_names"]]
    wanted = [name for name in names if name != "notumor"]
    columns = [names.index(name) for name in wanted]
    rows = np.isin(arrays["labels"], columns) & (arrays["patient"] >= 0)
    said = arrays["said"][:, :, rows]
    known = benchmark.restricted(
        said.reshape(-1, len(names)), tuple(names), tuple(wanted)
    )
    labels = np.searchsorted(columns, arrays["labels"][rows])
    shape = (*said.shape[:3], len(wanted))
    return labels, known.reshape(shape), arrays["patient"][rows]


def results_of(arrays: dict[str, np.ndarray]) -> dict:
    """Return, by network and variant, macro-F1, its drop, and who follows what.

    "macro_f1": [value, low, high], three tumor classes, patients drawn; "change":
    paired, from the slices as they are. "augmentation": by variant, the network that
    was augmented less the one that was not. "parts": of slices with a lesion, the share
    whose answer stays. "frames" and "greys": the share that answers the giver's class,
    less the share that did before; series drawn.
    """
    networks = [str(name) for name in arrays["networks"]]
    names = [str(name) for name in arrays["variants"]]
    labels, said, patients = tumor_answers(arrays)
    series = arrays["series"]
    given = arrays["donor_labels"]
    lesion = arrays["has_lesion"]
    found: dict = {"networks": {}, "augmentation": {}}
    for row, network in enumerate(networks):
        scores: dict = {"variants": {}, "parts": {}, "follow": {}}
        before = said[row, names.index(AS_IT_IS)]
        answer = arrays["said"][row].argmax(axis=-1)
        base = answer[names.index(AS_IT_IS)]
        for column, variant in enumerate(names):
            one = said[row, column]
            value = evaluation.macro_f1(labels, one.argmax(axis=1))
            ends = evaluation.bootstrap_interval("macro_f1", labels, one, patients)
            scores["variants"][variant] = {"macro_f1": [value, *map(float, ends)]}
            if variant == AS_IT_IS:
                continue
            gain = evaluation.paired_bootstrap(
                "macro_f1", labels, before, one, patients
            )
            scores["variants"][variant]["change"] = [
                gain.difference,
                gain.low,
                gain.high,
            ]
            if variant in PARTS:
                stays = (answer[column] == base)[lesion]
                scores["parts"][variant] = list(
                    evaluation.mean_interval(stays, series[lesion])
                )
            if variant in (*FRAMES, *GREYS):
                follows = (answer[column] == given).astype(float) - (base == given)
                scores["follow"][variant] = list(
                    evaluation.mean_interval(follows, series)
                )
        found["networks"][network] = scores
    with_it, without = (networks.index(n) for n in ("pilot", "no augmentation"))
    for column, variant in enumerate(names):
        gain = evaluation.paired_bootstrap(
            "macro_f1", labels, said[without, column], said[with_it, column], patients
        )
        found["augmentation"][variant] = [gain.difference, gain.low, gain.high]
    return found


EXPERIMENTS = (
    Experiment(
        "stress-candidates",
        "Three networks of fold 0, learned from folds 1 to 4 (whole, with and without "
        "augmentation; frozen with a head), asked about fold 0's slices after twelve "
        "changes in three strengths, in the frame and the greys of another class, and "
        "with the lesion covered or alone. The first two are candidates that this fold "
        "compared, so it had a say in which recipe is taken, and none in what a "
        "network answers to a changed slice. Macro-F1 of three tumor classes, patients "
        "drawn; shares by series.",
        run=run_stress,
    ),
)
