"""Train a network on a folder of images: python -m helpers.train

Copies and patients are looked for first, and the images are dealt to five parts that
share none. One part is held out; a network learns from the others as a plan says. What
comes out is a folder: the model file with what must travel with it, the plan, the
history, a report on the part that was held out, a model card and a data sheet. Chapter
7 walks through it, chapter 13 through what follows. Source of the splitting: chapter 2.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import audit, cards, config, serving, train_report
from helpers.audit import folders, manifest
from helpers.config import ROOT, CourseError
from helpers.datasets import Dataset, load_dataset
from helpers.plan import Plan

PLANS = ROOT / "data" / "plans"
TRAINED = ROOT / "data" / "trained"
NUM_FOLDS = 5
HELD_OUT = 0  # the part that is held out where only one network is trained
INNER_SHARE = 0.1  # of what is learned from, where a plan decides by a part of it
SAVE_SECONDS = 60  # most work that a power cut can cost
ROOM = 400e6  # bytes: two checkpoints of a whole DenseNet121, and the model file
SEVERAL = 2  # classes at least
EPILOG = """The images: BRAIN_MRI_DATA, a folder with one folder a class (in any depth),
phantom (the default: synthetic) or kaggle. The weights to start from:
BRAIN_MRI_WEIGHTS; by default ImageNet's, and on phantoms the course's own. Cut off or
killed, the same command goes on. Exit status: 0 done, 2 something is missing or wrong,
130 stopped by Ctrl-C."""


@dataclass(frozen=True)
class Job:
    """What is trained on what: `rows` has one row an image of `data`, see `divide`."""

    data: Dataset
    rows: pd.DataFrame
    plan: Plan
    weights: str
    folder: Path

    def held_out(self, fold: int) -> np.ndarray:
        """Return the images to score: one file of each slice of a fold."""
        return np.flatnonzero((self.rows["fold"] == fold) & self.rows["keep"])

    def learned(self, fold: int) -> np.ndarray:
        """Return the images to learn from: all files of the other folds' slices."""
        slices = self.rows.loc[self.rows["keep"], "group"]
        used = (self.rows["fold"] != fold) & self.rows["group"].isin(slices)
        return np.flatnonzero(used)


@config.command
def main(arguments: list[str] | None = None, build: Callable | None = None) -> int:
    """Run the command line; return 0 (done), 2 (an error, told) or 130 (stopped).

    `build`: see `training.fit_plan`.
    """
    parser = argparse.ArgumentParser(
        "python -m helpers.train", description=__doc__, epilog=EPILOG
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--plan", type=Path, metavar="FILE", help="a plan as JSON, see chapter 7"
    )
    which.add_argument(
        "--quick",
        action="store_true",
        help="small images and few epochs (what phantoms get anyway)",
    )
    parser.add_argument(
        "--folds",
        action="store_true",
        help="train five networks, each scored on the part it has not seen, and write "
        "predictions.csv for the benchmark instead of a model file",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images on the device at a time, for less memory: the same training, "
        "since a step still averages over as many as the plan says",
    )
    parser.add_argument(
        "--patients",
        type=Path,
        metavar="FILE",
        help="who is on which image: a CSV with the columns file (as below the folder) "
        "and patient, so that no patient is on both sides",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for the result (default: in data/trained/)"
    )
    options = parser.parse_args(arguments)
    try:
        run(options, build)
    except CourseError as error:
        half = getattr(error, "half", None)
        smaller = f"Add --batch-size {half}: the same training, in smaller pieces."
        print(f"{error} {smaller}" if half else error, file=sys.stderr)
        return 2
    except MemoryError:
        print(
            "the computer's memory is full. Close other programs, take fewer images, "
            "or a plan with fewer pixels; the same command then goes on.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on.", file=sys.stderr)
        return 130
    return 0


def run(options: argparse.Namespace, build: Callable | None = None) -> None:
    """Do what the command line asked for; raises `CourseError` for what is wrong."""
    setting = config.data_setting()
    name = "quick" if options.quick or setting == "phantom" else "recommended"
    path = config.whole_path(options.plan or PLANS / f"{name}.json")
    plan = read_plan(path)
    weights = config.weights_setting()
    if weights == "auto":
        weights = "bundled" if setting == "phantom" else "imagenet"
    data = with_patients(read_images(setting, plan.pixels), options.patients)
    from helpers import densenet  # imports TensorFlow: eight seconds

    build = build or densenet.backbone
    build(weights, plan.pixels)  # or say what is missing, before an audit of minutes
    job = prepare(setting, data, plan, path.stem, weights, options)
    print(_told(job, densenet.weights_name(weights)), flush=True)
    folds = range(NUM_FOLDS) if options.folds else [HELD_OUT]
    every = _say_how_long(job, len(folds), build)
    started, found = time.perf_counter(), []
    for fold in folds:
        found.append(train_fold(job, fold, options.folds, every, build))
    about = json.loads((job.folder / "about.json").read_text())
    about["seconds"] = about.get("seconds", 0) + time.perf_counter() - started
    about |= {"folds": len(folds), "looks": count_looks(about, job, folds)}
    about |= {"weights": densenet.weights_name(weights), "watched": not options.folds}
    write(job.folder / "about.json", json.dumps(about, indent=1) + "\n")
    table = pd.concat([table for table, _ in found], ignore_index=True)
    write(
        job.folder / "predictions.csv", table.to_csv(index=False, lineterminator="\n")
    )
    history = [history for _, history in found]
    write(job.folder / "history.json", json.dumps(history, indent=1) + "\n")
    for maker in (train_report, cards):  # the cards quote the report
        for file, text in maker.make(job.folder).items():
            write(job.folder / file, text)
    print(train_report.in_short(job.folder))


def read_plan(path: Path) -> Plan:
    """Read a plan from its file; `CourseError` for one that cannot be used."""
    try:
        return Plan.from_json(path.read_text())
    except (OSError, UnicodeDecodeError, CourseError) as error:
        raise CourseError(
            f"{path}: cannot be read as a plan ({error}). Expected JSON as in "
            f"{PLANS / 'recommended.json'}; chapter 7 explains it."
        ) from None


def read_images(setting: str, pixels: int) -> Dataset:
    """Return the images, grey, `pixels` a side; `CourseError` for what is no folder."""
    if setting in ("phantom", "kaggle"):
        return load_dataset(setting, pixels)
    try:
        return folders.read(Path(setting), pixels)
    except CourseError as error:
        raise CourseError(f"{error} Set BRAIN_MRI_DATA to that folder.") from None


def with_patients(data: Dataset, path: Path | None) -> Dataset:
    """Return the dataset with the patients that a CSV tells, NA where it does not.

    Raises `CourseError` for a file that is no such table, or of other images.
    """
    if path is None:
        return data
    try:
        listed = pd.read_csv(path, dtype=str).drop_duplicates()
    except (OSError, ValueError) as error:
        raise CourseError(f"{path}: cannot be read as CSV ({error}).") from None
    if not {"file", "patient"} <= set(listed):
        raise CourseError(
            f"{path}: its columns are {', '.join(listed)}; expected file and patient."
        )
    of_file = listed.set_index("file")["patient"]
    if not of_file.index.is_unique:
        twice = of_file.index[of_file.index.duplicated()][0]
        raise CourseError(f"{path}: {twice} is there twice, with two patients.")
    patient = data.table["file"].map(of_file).astype("string")
    if patient.isna().all():
        raise CourseError(
            f"{path}: none of its files is in {data.name}; expected names such as "
            f"{data.table['file'].iloc[0]}."
        )
    return replace(data, table=data.table.assign(patient=patient))


def prepare(
    setting: str,
    data: Dataset,
    plan: Plan,
    name: str,
    weights: str,
    options: argparse.Namespace,
) -> Job:
    """Audit and divide the images, or take that from an earlier start.

    Everything that decides the training is written to the folder first, so that the
    same command later does the same. Raises `CourseError` if it is another now.
    """
    if len(data.class_names) < SEVERAL:
        raise CourseError(
            f"{data.name} holds one class, {data.class_names[0]}; expected two or "
            "more, one folder a class. Is it one folder too deep?"
        )
    out = f"{Path(data.name).name}-{name}{'-folds' if options.folds else ''}"
    folder = config.whole_path(options.out or TRAINED / out.replace(" ", "-"))
    make_room(folder)
    digest = hashlib.sha256(data.fingerprint.encode())
    told = [name for name in ("file", "class", "patient") if name in data.table]
    digest.update(data.table[told].to_csv().encode())
    about = {
        "data": data.name,
        "synthetic": data.synthetic,
        "class_names": list(data.class_names),
        "images": digest.hexdigest(),
        "start_from": weights,
        "set_aside": len(data.set_aside),
    }
    if (folder / "about.json").exists():
        return _again(
            Job(data, read_rows(folder), plan, weights, folder), about, options
        )
    if plan.precision != "float32":
        from helpers.devices import mixed_precision

        plan = replace(plan, precision=mixed_precision())
    large = read_images(setting, folders.PIXELS)  # small images hide copies
    rows = divide(with_patients(large, options.patients))
    about["audited"] = large.fingerprint
    if list(rows["file"]) != list(data.table["file"]):
        raise CourseError(f"{data.name} changed while it was read; start again.")
    table = data.table[["mode", "width", "height"]].reset_index(drop=True)
    rows = pd.concat([rows, table], axis=1)
    job = Job(data, rows, _in_pieces(plan, options.batch_size), weights, folder)
    _check_classes(job, range(NUM_FOLDS) if options.folds else [HELD_OUT])
    if len(data.set_aside):
        write(folder / "set_aside.csv", data.set_aside.to_csv(index=False))
    write(folder / "split.csv", rows.to_csv(index=False, lineterminator="\n"))
    write(folder / "plan.json", job.plan.to_json())
    write(folder / "about.json", json.dumps(about, indent=1) + "\n")
    return job


def divide(data: Dataset) -> pd.DataFrame:
    """Say what belongs together, and deal it to five folds; one row an image.

    Columns file, class; `group` (same slice), `series`, `patient` (NA where not known),
    `unit` (what must stay together), all numbers; `fold`; `keep`: the one file that
    stands for its slice, none for a slice with several classes. Of Kaggle's version 1,
    the course's manifest knows all that. `data` at `folders.PIXELS` or so.
    """
    told = "patient" in data.table and data.table["patient"].notna().any()
    rows = None if told else manifest.rows_of(data)
    if rows is None:
        found = audit.audit(data).files
        rows = found[["file", "class", "group", "series"]].copy()
        patient = np.full(len(rows), -1)
        if told:
            patient = pd.factorize(data.table["patient"])[0]
        rows["patient"] = pd.array(np.where(patient < 0, pd.NA, patient), "Int64")
        rows["keep"] = found["first"] & ~found["conflict"]
    rows["keep"] = rows["keep"] == 1
    numbers = [rows[n].fillna(-1).to_numpy(int) for n in ("group", "series", "patient")]
    rows["unit"] = audit.joined(*numbers)
    if "fold" not in rows:
        rows["fold"] = _deal(rows, data.labels, found["digest"])
    columns = ["file", "class", "group", "series", "patient", "unit", "fold", "keep"]
    return rows[columns].reset_index(drop=True)


def _deal(rows: pd.DataFrame, labels: np.ndarray, digests: pd.Series) -> np.ndarray:
    """Deal units to folds, balanced on one file a slice."""
    kept = rows["keep"].to_numpy(bool)
    unit = rows["unit"].to_numpy(int)
    fold = audit.folds(labels[kept], unit[kept], digests[kept], NUM_FOLDS)
    of_unit = dict(zip(unit[kept], fold, strict=True))
    return np.array([of_unit.get(number, -1) for number in unit])  # -1: conflicts only


def read_rows(folder: Path) -> pd.DataFrame:
    """Read back what `prepare` has written."""
    numbers = ("group", "series", "patient", "unit", "fold")
    return pd.read_csv(folder / "split.csv", dtype=dict.fromkeys(numbers, "Int64"))


def train_fold(
    job: Job, fold: int, unwatched: bool, every: int, build: Callable
) -> tuple[pd.DataFrame, dict]:
    """Train on the other folds and score this one; return predictions and history.

    `unwatched`: the fold is not looked at before the end; a plan that decides by a
    validation part gets another one. Otherwise writes the model file, and predicts
    with what is in it.
    """
    import keras

    from helpers import training

    learn, held = job.learned(fold), job.held_out(fold)
    watched = held
    if unwatched:
        print(f"fold {fold + 1} of {NUM_FOLDS}", flush=True)
        watched = held[:0]
        if any(stage.patience is not None for stage in job.plan.stages):
            unit = job.rows["unit"].to_numpy(int)[learn]
            parts = audit.inner_split(job.data.labels[learn], unit, INNER_SHARE)
            learn, watched = (learn[part] for part in parts)
    trained = training.fit_plan(
        job.plan,
        job.data.images,
        job.data.labels,
        learn,
        watched,
        job.folder / "checkpoints" / (f"fold-{fold}" if unwatched else "model"),
        groups=job.rows["group"].fillna(-1).to_numpy(int),
        weights=job.weights,
        every=every,
        build=build,
    )
    model = trained.portable()
    if not unwatched:
        path = job.folder / "model.keras"
        save_model(model, path)
        model = keras.saving.load_model(path)
        said = serve(job, fold, model, path)
    else:
        said = model.predict(job.data.images[held], batch_size=32, verbose=0)
    table = pd.DataFrame(said, columns=list(job.data.class_names))
    table.insert(0, "filename", job.rows["file"].to_numpy()[held])
    table.insert(1, "fold", fold)
    return table, trained.history


def serve(job: Job, fold: int, model, path: Path) -> np.ndarray:
    """Write beside a model file what `helpers.predict` needs; return what it says.

    Temperature, threshold and limit are set on the held-out part (chapters 10, 13), so
    no number about them is a test of it. Returns probabilities [n, k] of that part.
    """
    held, kept = job.held_out(fold), job.rows["keep"].to_numpy(bool)
    learned = job.learned(fold)
    known = serving.describe(
        model, job.data.images, job.data.labels, learned[kept[learned]]
    )
    network = serving.with_features(model)
    said, features = network.predict(job.data.images[held], batch_size=32, verbose=0)
    units = job.rows["unit"].to_numpy(int)[held]
    decided, distances = serving.fit(
        known, said, features, job.data.labels[held], units
    )
    about = {
        "data": job.data.name,
        "synthetic": job.data.synthetic,
        "images": json.loads((job.folder / "about.json").read_text())["images"],
        "plan_sha256": hashlib.sha256(job.plan.to_json().encode()).hexdigest(),
        "class_names": list(job.data.class_names),
        "pixels": job.plan.pixels,
    }
    serving.write(path, serving.Serving(about | decided, known, distances))
    return said


def save_model(model, path: Path) -> None:
    """Write a Keras model file that appears whole or not at all."""
    part = path.with_name("part-" + path.name)
    try:
        model.save(part)
        os.replace(part, path)
    except OSError as error:
        raise _no_room(path, error) from None
    finally:
        part.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    part = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text)
        os.replace(part, path)
    except OSError as error:
        raise _no_room(path, error) from None
    finally:
        part.unlink(missing_ok=True)


def make_room(folder: Path) -> None:
    """Create the folder; `CourseError` if it cannot be, or its disk is nearly full."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_room(folder, error) from None
    free = shutil.disk_usage(folder).free
    if free < ROOM:
        raise CourseError(
            f"{folder}: its disk has {free / 1e6:.0f} MB left; training needs about "
            f"{ROOM / 1e6:.0f} MB. Free some, or name a folder on another disk with "
            "--out."
        )


def _no_room(path: Path, error: OSError) -> CourseError:
    return CourseError(
        f"{path} cannot be written: {error.strerror or error}. Free some space, or "
        "name another folder with --out."
    )


def count_looks(about: dict, job: Job, folds) -> int:
    """Count on this machine how many trainings were scored on these held-out images."""
    held = "\n".join(job.rows["file"].to_numpy(str)[job.held_out(HELD_OUT)])
    which = hashlib.sha256((about["audited"] + held).encode()).hexdigest()[:16]
    path = config.cache_dir() / "looks" / f"{which}.txt"
    what = job.plan.to_json() + job.weights + str(len(folds))
    what = hashlib.sha256(what.encode()).hexdigest()
    seen = path.read_text().split() if path.exists() else []
    if what not in seen:
        seen.append(what)
        write(path, "\n".join(seen) + "\n")
    return len(seen)


def _again(job: Job, about: dict, options: argparse.Namespace) -> Job:
    """Go on with what the folder holds, if that is what was asked for."""
    before = json.loads((job.folder / "about.json").read_text())
    plan = read_plan(job.folder / "plan.json")
    # The precision was set to what the device does fast; a batch may be cut.
    asked = replace(job.plan, precision=plan.precision)
    asked = _in_pieces(asked, plan.batch_size)
    differs = [name for name in about if about[name] != before.get(name)]
    differs += ["plan"] if asked != plan else []
    if differs:
        raise CourseError(
            f"{job.folder} holds another training: its {' and '.join(differs)} "
            f"{'differs' if len(differs) == 1 else 'differ'}. Name another folder with "
            "--out, or delete this one."
        )
    return replace(job, plan=_in_pieces(plan, options.batch_size))


def _in_pieces(plan: Plan, batch_size: int | None) -> Plan:
    """Cut the plan's steps into batches of another size; the training is the same."""
    step = plan.batch_size * plan.gradient_accumulation_steps
    if batch_size is None or batch_size == plan.batch_size:
        return plan
    if not 0 < batch_size <= step or step % batch_size:
        raise CourseError(
            f"--batch-size is {batch_size}; expected a number that divides the {step} "
            "images of the plan's steps."
        )
    pieces = step // batch_size
    return replace(plan, batch_size=batch_size, gradient_accumulation_steps=pieces)


def _check_classes(job: Job, folds) -> None:
    """Raise `CourseError` for a class that cannot be on both sides of the split."""
    for number, name in enumerate(job.data.class_names):
        of_class = job.data.labels == number
        sides = [part(f) for f in folds for part in (job.held_out, job.learned)]
        if all(of_class[side].any() for side in sides):
            continue
        own = job.rows[of_class & job.rows["keep"].to_numpy(bool)]
        raise CourseError(
            f"class {name}: its {len(own)} slices come from {own['unit'].nunique()} "
            f"patients or series, too few to learn from some and be scored on others. "
            f"Expected {NUM_FOLDS} or more; add images, or take the class out."
        )


def _told(job: Job, weights: str) -> str:
    """Return what is about to happen, in eight lines."""
    rows, plan = job.rows, job.plan
    kept, patient = rows[rows["keep"]], rows["patient"]
    known = f"known for {patient.notna().sum()} of {len(rows)} files"
    if patient.isna().all():
        known = "not known; series (slices that look like one patient's) stand in"
    folders_told = job.data.table["split"].dropna().nunique() > 1
    pooled = "Training and Testing are pooled and dealt anew; " if folders_told else ""
    learn, held = job.learned(HELD_OUT), job.held_out(HELD_OUT)
    units = rows["unit"].iloc[held].nunique()
    stages = ", ".join(
        f"{s.name} {s.num_epochs} epochs"
        + (f" ({s.augmentation})" if s.augmentation else "")
        for s in plan.stages
    )
    lines = {
        "data": f"{job.data.name} ({job.data.badge}): {len(rows)} files, "
        f"{len(job.data.class_names)} classes; {len(job.data.set_aside)} set aside",
        "copies": f"{len(kept)} slices to use, in {rows['unit'].nunique()} "
        "patients or series that stay together",
        "patients": known,
        "split": pooled
        + f"{len(learn)} files to learn from; {len(held)} slices of {units} "
        "patients or series held out",
        "plan": f"{plan.pixels} pixels; {stages}; {plan.precision}",
        "weights": weights,
        "folder": str(job.folder),
    }
    return "\n".join(f"{name:<9} {text}" for name, text in lines.items())


def _say_how_long(job: Job, num_folds: int, build: Callable) -> int:
    """Measure the first steps, say how long all will take; return how often to save."""
    from helpers import training

    about = json.loads((job.folder / "about.json").read_text())
    if "every" in about:
        print("Going on where it stopped.", flush=True)
        return about["every"]
    learn, plan = job.learned(HELD_OUT), job.plan
    data = job.data
    measured = training.step_seconds(plan, data.images, data.labels, learn, build)
    first, batch = measured or (0.0, 1.0)
    if measured is None:  # cached activations
        print(f"A pass over {len(data)} images, then a moment an epoch.", flush=True)
    else:
        minutes = num_folds * _total_seconds(job, num_folds == 1, first, batch) / 60
        print(
            f"This will take about {minutes:.0f} minutes here, at "
            f"{plan.batch_size / batch:.0f} images a second (measured over the first "
            "steps).",
            flush=True,
        )
    steps = SAVE_SECONDS / batch / plan.gradient_accumulation_steps
    about["every"] = max(1, round(steps))
    write(job.folder / "about.json", json.dumps(about, indent=1) + "\n")
    return about["every"]


def _total_seconds(job: Job, watched: bool, first: float, batch: float) -> float:
    """Return what one training takes, of its first step and of a later one."""
    plan, learn = job.plan, job.learned(HELD_OUT)
    slices = job.rows["group"].iloc[learn].nunique()
    shown = slices if plan.weighting == "draw" else len(learn)
    # A pass forward costs about a third of a training step.
    shown += len(job.held_out(HELD_OUT)) / 3 if watched else 0
    image = batch / plan.batch_size
    on_pixels = [
        stage.num_epochs
        for stage in plan.stages
        if stage.augmentation is not None or stage.boundary == "input"
    ]
    total = sum(first + num_epochs * shown * image for num_epochs in on_pixels)
    return total + len(job.data) * image / 3


if __name__ == "__main__":
    sys.exit(main())
