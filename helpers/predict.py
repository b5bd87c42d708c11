"""Ask a trained network about files: python -m helpers.predict FILES --model FILE

For each file, the most similar label of the dataset with its calibrated share; or none,
where the network is not sure enough, or where the picture is not of the kind that it
was taught. Refusing is an answer. Nothing here is a diagnosis.

    python -m helpers.predict scan.png --model data/trained/phantom-quick/model.keras
    python -m helpers.predict folder volume.nii.gz --json answers.json --model ...
"""

import argparse
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from helpers import scans, serving
from helpers.config import command, whole_path
from helpers.datasets.folder import Unusable
from helpers.scans import Scan
from helpers.serving import Answer, Serving

BLOCK = 32  # pictures that the network sees at a time, and that are in memory
SECONDS = 10  # after which progress is shown
NOT_READ = "not read"
COLUMNS = ("file", "status", "label", "share", "distance", "why", "notes", "notice")
EPILOG = """What is read: PNG, JPEG, TIFF and others as the course's datasets are (8
and 16 bit), a slice of a NIfTI volume (.nii, .nii.gz), a DICOM slice (.dcm). A volume's
slice is the one with most tissue, or --slice. The picture is squeezed to a square, as
in training; the size of its pixels is not used.

The model: three files that `python -m helpers.train` wrote, model.keras, model.json and
model.npz. A file can be: answered; not sure enough (chapter 10); out of scope (chapter
13); or not read, with the reason on the error stream.

Exit status: 0 every file was read; 1 some were not; 2 nothing was asked."""


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0 (all read), 1 (some not) or 2 (an error, told)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its log hides our messages
    parser = argparse.ArgumentParser(
        "python -m helpers.predict",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", metavar="FILES", nargs="+", help="files or folders")
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FILE", help="model.keras"
    )
    parser.add_argument(
        "--plane",
        choices=list(scans.PLANES),
        default="axial",
        help="of a volume's slice (default: axial)",
    )
    parser.add_argument(
        "--slice",
        type=int,
        metavar="N",
        help="of a volume, from 0 (default: the one with most tissue)",
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write answers there")
    parser.add_argument("--csv", type=Path, metavar="PATH", help="write answers there")
    options = parser.parse_args(arguments)
    path = whole_path(options.model)
    known = serving.load(path)
    files, aside = scans.find(options.files)
    rows = [not_read(file, reason) for file, reason in aside]
    if files:
        network = serving.network(path)  # imports TensorFlow: eight seconds
        found = ask(known, network, files, options.plane, options.slice)
        bar = tqdm(found, "asking", len(files), unit="file", delay=SECONDS)
        rows += list(bar)
    for row in rows:
        if row["status"] == NOT_READ:
            print(f"{row['file']}: {row['why']}.", file=sys.stderr)
    print(table(rows, known))
    texts = ((options.json, as_json(rows, known)), (options.csv, as_csv(rows)))
    for target, text in texts:
        if target is not None:
            whole_path(target).write_bytes(text.encode("utf-8", "backslashreplace"))
    return int(any(row["status"] == NOT_READ for row in rows))


def ask(
    known: Serving, network, files: list[Path], plane: str, index: int | None
) -> Iterator[dict]:
    """Yield a row for each file, in order; a block of them is in memory at a time."""
    pixels = known.about["pixels"]
    for start in range(0, len(files), BLOCK):
        read: list[Scan | str] = []
        for file in files[start : start + BLOCK]:
            try:
                read.append(scans.read(file, pixels, plane, index))
            except (Unusable, OSError) as reason:
                read.append(str(reason))
        pictures = [scan for scan in read if isinstance(scan, Scan)]
        answers = iter(answers_to(known, network, pictures))
        for file, scan in zip(files[start : start + BLOCK], read, strict=True):
            name = str(file)
            yield (
                not_read(name, scan)
                if isinstance(scan, str)
                else row_of(name, next(answers))
            )


def answers_to(known: Serving, network, pictures: list[Scan]) -> list[Answer]:
    """Return the answers to some pictures; [] to none."""
    if not pictures:
        return []
    images = np.stack([scan.image for scan in pictures])
    said = network.predict(images, batch_size=BLOCK, verbose=0)
    return serving.answer(known, pictures, *said)


def row_of(file: str, answer: Answer) -> dict:
    """Return an answer as a row of the table."""
    return {
        "file": file,
        "status": answer.status,
        "label": answer.label,
        "share": answer.share,
        "shares": answer.shares,
        "distance": answer.distance,
        "why": "; ".join(answer.why),
        "notes": "; ".join(answer.notes),
        "notice": serving.NOTICE,
    }


def not_read(file: str, reason: str) -> dict:
    """Return the row of a file that could not be read."""
    empty = dict.fromkeys(("label", "share", "shares", "distance"))
    row = {"file": file, "status": NOT_READ, **empty, "why": reason.rstrip(".")}
    return row | {"notes": "", "notice": serving.NOTICE}


def table(rows: list[dict], known: Serving) -> str:
    """Return the answers for people: a line a file, the counts, and what it is not."""
    lines, answered = [], [row for row in rows if row["status"] != NOT_READ]
    wide = max((len(row["file"]) for row in answered), default=0)
    for row in answered:
        said = f"{row['label']} {row['share']:.2f}" if row["label"] else row["status"]
        more = "; ".join(filter(None, (row["why"], row["notes"])))
        lines.append(f"{row['file']:<{wide}}  {said:<16}  {more}".rstrip())
    counts = Counter(row["status"] for row in rows)
    told = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    badge = " (synthetic)" if known.about["synthetic"] else ""
    ends = [f"{len(rows)} files: {told}." if rows else "No file was found."]
    ends.append(f"Taught on {known.about['data']}{badge}. {serving.NOTICE}")
    return "\n".join([*lines, *([""] if lines else []), *ends])


def as_json(rows: list[dict], known: Serving) -> str:
    """Return the answers as JSON: the notice, the model, and a list of rows."""
    told = {name: known.about[name] for name in ("model", "sha256", "data")}
    rows = [{k: v for k, v in row.items() if k != "notice"} for row in rows]
    whole = {"notice": serving.NOTICE, **told, "answers": rows}
    return json.dumps(whole, indent=1) + "\n"


def as_csv(rows: list[dict]) -> str:
    """Return the answers as CSV, the notice in every row, so that it travels along."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


if __name__ == "__main__":
    sys.exit(main())
