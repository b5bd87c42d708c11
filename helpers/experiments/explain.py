"""Does the network look at the lesion? Maps of the fold networks, against outlines.

Each slice is explained by a network that has not seen it, and every map's score stands
beside the same score of maps that know nothing. Recorded are scores by file name.
"""

import json
import time

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from helpers import evaluation, recorded
from helpers.audit import manifest
from helpers.audit.manifest import BOX
from helpers.config import SEED, CourseError
from helpers.datasets import figshare, load_dataset

from . import whole
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

OF = "whole-leak-free"  # whose networks are explained, with the first seed
LAYERS = {
    "Grad-CAM, block 2": "conv3_block12_concat",
    "Grad-CAM, block 3": "conv4_block24_concat",
    "Grad-CAM, block 4": "relu",
}
OCCLUSION = "occlusion"
RANDOM = {  # what is drawn anew, from the answer backwards
    "Grad-CAM, block 4, head random": "pooled",
    "Grad-CAM, block 4, head and block 4 random": "pool4_pool",
    "Grad-CAM, block 4, all random": "",
}
KNOW_NOTHING = ("centre blob", "mean of all lesions", "edges")
METHODS = (*LAYERS, OCCLUSION, *RANDOM, *KNOW_NOTHING)
OCCLUDED = 200  # slices a fold: each needs some eighty answers


def lesion_masks(rows: pd.DataFrame, pixels: int) -> np.ndarray:
    """Return each file's lesion, 0/1 uint8 [n, pixels, pixels], as figshare drew it.

    The outline is mirrored as the file is, and stretched into the file's lesion box.
    """
    outlines = json.loads((figshare.root() / "borders.json").read_text())
    masks = np.zeros((len(rows), pixels, pixels), np.uint8)
    for row, (_, file) in enumerate(rows.iterrows()):
        points = np.array(outlines[str(int(file["figshare_index"]))], float)
        low, high = points.min(axis=0), points.max(axis=0)
        inside = (points - low) / np.maximum(high - low, 1e-9)
        if file["mirrored"] == 1:
            inside[:, 0] = 1 - inside[:, 0]
        left, top, width, height = (float(file[name]) for name in BOX)
        corners = (inside * (width, height) + (left, top)) * pixels
        image = Image.new("L", (pixels, pixels))
        ImageDraw.Draw(image).polygon([tuple(p) for p in corners], fill=1)
        masks[row] = np.asarray(image)
    return masks


def randomised(model, boundary: str, seed: int = SEED):
    """Return a copy whose weights behind a layer are drawn anew; all, if it is "".

    Each array's numbers are dealt out again among its places, so that their size stays
    what it was (after Adebayo et al. 2018, who draw from the first distribution).
    """
    import keras

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    names = [layer.name for layer in copy.layers]
    first = names.index(boundary) + 1 if boundary else 0
    rng = np.random.default_rng(seed)
    for layer in copy.layers[first:]:
        layer.set_weights(
            [rng.permutation(w.ravel()).reshape(w.shape) for w in layer.get_weights()]
        )
    return copy


def maps_of(
    method: str, model, images: np.ndarray, plan: dict, answers: np.ndarray, mean
) -> np.ndarray:
    """Return one method's maps of grey images, float32 [n, pixels, pixels].

    `model`: preprocessed images to probabilities, not nested; `answers`: the classes
    that are explained; `mean`: the mean of all lesions that the network learned from.
    """
    from helpers import batches, explanation

    size = images.shape[1:]
    if method == "centre blob":
        return np.broadcast_to(explanation.centre_blob(size), images.shape)
    if method == "mean of all lesions":
        return np.broadcast_to(mean, images.shape)
    if method == "edges":
        return explanation.edges(images)

    def seen(grey: np.ndarray) -> np.ndarray:
        return np.asarray(batches.preprocess(grey, plan["preprocessing"]))

    if method == OCCLUSION:
        return explanation.occlusion(
            lambda grey: model.predict(seen(grey), verbose=0),
            images,
            answers,
            patch=size[0] // 5,
        )
    if method in RANDOM:
        model, layer = randomised(model, RANDOM[method]), LAYERS["Grad-CAM, block 4"]
    else:
        layer = LAYERS[method]
    return explanation.grad_cam(model, seen(images), answers, layer)


def scores_of_fold(key: dict, real: RealData, part, fold: int) -> Piece:
    """Return what every method's maps score on one fold's slices with an outline."""

    def compute() -> dict[str, np.ndarray]:
        import keras

        from helpers import explanation

        trained = whole.fine_tune(key["network"], real, part)
        inner = next(x for x in trained.model.layers if isinstance(x, keras.Model))
        plan = key["network"]["plan"]
        rows = part.score[real.rows["figshare_index"].iloc[part.score].notna()]
        images = load_dataset(pixels=plan["pixels"]).images
        said = trained.predict(rows)
        answers, images = said.argmax(axis=1), images[rows]
        masks = lesion_masks(real.rows.iloc[rows], plan["pixels"])
        heads = explanation.head_masks(images)
        learned = part.fit[real.rows["figshare_index"].iloc[part.fit].notna()]
        mean = lesion_masks(real.rows.iloc[learned], plan["pixels"]).mean(axis=0)
        pointing = np.full((len(METHODS), len(rows)), -1, np.int8)
        times = np.full((len(METHODS), len(rows)), np.nan, np.float32)
        some = np.random.default_rng((SEED, fold)).permutation(len(rows))[:OCCLUDED]
        for number, method in enumerate(METHODS):
            which = np.sort(some) if method == OCCLUSION else np.arange(len(rows))
            maps = maps_of(method, inner, images[which], plan, answers[which], mean)
            pointing[number, which] = explanation.pointing_game(maps, masks[which])
            times[number, which] = explanation.times_chance(
                maps, masks[which], heads[which]
            )
            print(f"fold {fold}, {method}", flush=True)
        share = masks.sum(axis=(1, 2)) / (heads | (masks > 0)).sum(axis=(1, 2))
        return {
            "filenames": real.data.table["file"].to_numpy(str)[rows],
            "labels": real.labels[rows].astype(np.int8),
            "groups": real.rows["patient"].iloc[rows].to_numpy(np.int32),
            "fold": np.full(len(rows), fold, np.int8),
            "said": said.astype(np.float32),
            "lesion_share": share.astype(np.float32),
            "pointing": pointing.T,
            "times_chance": times.T,
        }

    return piece(key, compute)


def run_explain(experiment: Experiment, look_again: bool) -> None:
    """Explain every fold's slices by the network that has not seen them; record."""
    plan, plan_sha256 = committed_plan(experiment.name)
    looks = next_look(experiment.name, look_again)
    started, real = time.perf_counter(), load_real()
    figshare.root()  # or say what is missing
    networks, networks_sha256 = committed_plan(OF)
    if OF not in recorded.names():
        raise CourseError(f"{OF} is not recorded yet: its networks are explained here.")
    manifest_sha256 = sha256(manifest.PATH.read_text())
    found = []
    for fold in range(manifest.NUM_FOLDS):
        part = whole.fold_part(real, fold)
        network = whole.key_of(
            OF,
            networks["chosen"],
            real,
            part,
            networks["seeds"][0],
            plan_sha256=networks_sha256,
            look=recorded.info(OF)["looks"],
            scored_on=[fold],
            manifest_sha256=manifest_sha256,
        )
        key = decided_by(
            real,
            whole.learned_from(networks["chosen"], part),
            name=experiment.name,
            plan_sha256=plan_sha256,
            look=looks,
            network=network,
            scored_on=[fold],
        )
        found.append(scores_of_fold(key, real, part, fold))
    record_of(experiment, plan, plan_sha256, looks, real, found, started)


def run_candidate(experiment: Experiment, look_again: bool) -> None:
    """Explain fold 0's slices by one of the candidates that this fold compared."""
    plan, plan_sha256 = committed_plan(experiment.name)
    looks = next_look(experiment.name, look_again)
    started, real = time.perf_counter(), load_real()
    figshare.root()  # or say what is missing
    fold, name = whole.CHOSEN_ON, plan["chosen"]["candidate"]
    part, candidate = whole.fold_part(real, fold), whole.CANDIDATES[name][0].as_dict()
    network = whole.key_of(
        OF,
        candidate,
        real,
        part,
        SEED,
        candidate=name,
        scored_on=[fold],
        manifest_sha256=sha256(manifest.PATH.read_text()),
    )
    key = decided_by(
        real,
        whole.learned_from(candidate, part),
        name=experiment.name,
        plan_sha256=plan_sha256,
        look=looks,
        network=network,
        scored_on=[fold],
    )
    found = [scores_of_fold(key, real, part, fold)]
    record_of(experiment, plan, plan_sha256, looks, real, found, started)


def record_of(
    experiment: Experiment,
    plan: dict,
    plan_sha256: str,
    looks: int,
    real: RealData,
    found: list[Piece],
    started: float,
) -> None:
    """Write the record of some folds' scores; `started`: of `time.perf_counter`."""
    arrays = {
        name: np.concatenate([p.arrays[name] for p in found])
        for name in found[0].arrays
    }
    arrays |= {"methods": np.array(METHODS)}
    arrays["class_names"] = np.array(real.data.class_names)
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
        "num_scored": len(arrays["labels"]),
        "pieces": stated(found),
        "results": results_of(arrays),
    }
    write(about, **arrays)


def results_of(arrays: dict[str, np.ndarray]) -> dict:
    """Return {method: {part: pointing and times_chance, [mean, low, high] each}}.

    Parts: all, each class, the smallest, middle and largest third of the lesions (by
    their share of the head), and slices that were answered right and wrong. Patients
    are drawn. `over`: each method's times_chance less the best map that knows nothing.
    """
    right = arrays["said"].argmax(axis=1) == arrays["labels"]
    ends = np.quantile(arrays["lesion_share"], [1 / 3, 2 / 3])
    third = np.searchsorted(ends, arrays["lesion_share"])
    parts = {"all": np.ones(len(right), bool), "right": right, "wrong": ~right}
    for label, name in enumerate(arrays["class_names"]):
        parts[str(name)] = arrays["labels"] == label
    for number, name in enumerate(("smallest", "middle", "largest")):
        parts[f"{name} lesions"] = third == number
    methods = [str(name) for name in arrays["methods"]]
    blind = [methods.index(name) for name in methods if name in KNOW_NOTHING]
    best = max(blind, key=lambda m: np.nanmean(arrays["times_chance"][:, m]))
    found = {}
    for number, method in enumerate(methods):
        points = arrays["pointing"][:, number].astype(float)
        points[points < 0] = np.nan
        times = arrays["times_chance"][:, number].astype(float)
        found[method] = {}
        for part, which in parts.items():
            if not np.isfinite(times[which]).any():
                continue
            groups = arrays["groups"][which]
            found[method][part] = {
                "pointing": list(evaluation.mean_interval(points[which], groups)),
                "times_chance": list(evaluation.mean_interval(times[which], groups)),
            }
        over = times - arrays["times_chance"][:, best]
        found[method]["over"] = {
            "control": methods[best],
            "times_chance": list(evaluation.mean_interval(over, arrays["groups"])),
        }
    return found


EXPERIMENTS = (
    Experiment(
        "explain-leak-free",
        "Grad-CAM after three blocks and occlusion, of the answer that each fold's "
        "network (whole-leak-free, first seed) gives to slices it has not seen, scored "
        "against figshare's outlines: the pointing game, and how many times chance the "
        "map's mass lies on the lesion. Beside them the same network with random "
        "weights, from the answer backwards, and maps that know nothing. Intervals "
        "draw patients.",
        run=run_explain,
        seeds=(0,),
    ),
    Experiment(
        "explain-candidate",
        "The same maps of one candidate of whole-leak-free (the pilot's plan, seed 0), "
        "which learned from folds 1 to 4, on fold 0's slices. That fold had a say in "
        "which recipe is taken; it had none in a map.",
        run=run_candidate,
    ),
)
