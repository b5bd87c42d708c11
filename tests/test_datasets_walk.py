"""One walk for check, loading and audit: nothing is overlooked without a word."""

import errno
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.audit import folders
from helpers.audit.__main__ import main as audit
from helpers.config import CourseError
from helpers.datasets import cache, folder, load_dataset, walk
from helpers.datasets.__main__ import main

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
LATIN_1 = os.fsdecode(b"gl\xe9.jpg")


def picture(path: Path, seed: int = 0) -> Path:
    """Save a picture that no other seed's resembles."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (12, 12), np.uint8)
    image = Image.fromarray(small).resize((160, 160), Image.Resampling.BICUBIC)
    image.save(path, format=None if path.suffix else "JPEG", quality=95)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIN_MRI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COURSE_PROFILE", "smoke")


@pytest.fixture
def tree(tmp_path) -> Path:
    """Two images a class in Training, one of them copied to Testing."""
    root = tmp_path / "images"
    for number, name in enumerate(CLASSES):
        for each in (1, 2):
            picture(root / f"Training/{name}/{each}.jpg", 10 * number + each)
        picture(root / f"Testing/{name}/1.jpg", 10 * number + 1)
    return root


@pytest.fixture
def audited(tree, tmp_path, capsys):
    """Audit the tree; return exit status and report."""

    def run(root: Path = tree) -> tuple[int, str]:
        status = audit([str(root), "--out", str(tmp_path / "out")])
        captured = capsys.readouterr()
        # With a report, stderr holds progress bars only, which show the time.
        return status, captured.out + (captured.err if status == 2 else "")

    return run


def checked(tree: Path, capsys) -> tuple[int, str]:
    status = main(["check", str(tree)])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


# --- what the audit overlooked --------------------------------------------------------

SHARED = "4 of 4 test images show a slice that is also in Training"


def link_testing(root: Path) -> None:
    shutil.move(root / "Testing", root.parent / "elsewhere")
    (root / "Testing").symlink_to(root.parent / "elsewhere")


def rename(split: str):
    return lambda root: (root / "Testing").rename(root / split)


def one_level_down(root: Path) -> None:
    root.rename(root.parent / "archive")
    root.mkdir()
    (root.parent / "archive").rename(root / "archive")


def no_suffix(root: Path) -> None:
    for path in list(root.rglob("*.jpg")):
        path.rename(path.with_suffix(""))


@pytest.mark.parametrize(
    "change",
    [link_testing, rename("valid"), rename("val"), rename("Validation"),
     rename("test"), one_level_down, no_suffix],
    ids=["link", "valid", "val", "Validation", "test", "one level down", "no suffix"],
)  # fmt: skip
def test_the_overlap_is_found_however_the_folders_are_called(tree, audited, change):
    change(tree)
    status, report = audited()
    assert (status, SHARED in report.replace("\n", " ")) == (1, True), report
    assert "Test images that are in Training too" in report


def test_without_train_and_test_the_audit_says_that_it_checked_no_overlap(
    tree, audited
):
    _, report = audited(tree / "Training")
    assert (
        "No recognised train and test: overlap not checked; top folders are glioma, "
        "meningioma, notumor, pituitary." in report
    )


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("1.dcm", b"\0" * 128 + b"DICM", "DICOM: save its slices as PNG first"),
        ("1.2.840.113619", b"\0" * 128 + b"DICM", "DICOM: save its slices as PNG"),
        ("1.heic", b"\0\0\0\x18ftypheic", "HEIC: save it as PNG or JPEG first"),
        ("1.nii.gz", b"\x1f\x8b", "NIfTI, a whole volume"),
        ("1.mat", b"MATLAB 5.0", "MATLAB: save its slices as PNG first"),
        ("all.zip", b"PK\3\4", "an archive: unpack it first"),
        ("1.jpg", b"%!PS-Adobe-3.0\n(x) run", "PostScript: save it as PNG first"),
        ("2.jpg", b"version https://git-lfs.github.com", "a pointer of git LFS"),
        ("3.jpg", b"<!DOCTYPE html><html>", "a web page: the download went wrong"),
    ],
)
def test_what_the_course_does_not_read_is_set_aside_with_the_way_out(
    tree, audited, capsys, name, content, reason
):
    shutil.rmtree(tree / "Testing" / "glioma")
    for split in ("Training", "Testing"):
        path = tree / split / "schwannoma" / name
        path.parent.mkdir()
        path.write_bytes(content)
    status, report = audited()
    assert (status, report.count(reason)) == (1, 2)
    picture(tree / "Testing/glioma/9.jpg", 99)
    status, report = checked(tree, capsys)
    by_name = name.endswith(".jpg")  # an image by its suffix, in no class's folder
    assert status == 1
    assert report.count(folder.STRAY if by_name else reason) == 2


def test_no_other_program_is_called_for_a_postscript_file_named_jpg(
    tmp_path, monkeypatch
):
    from PIL import EpsImagePlugin

    called = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a: called.append(a))
    path = tmp_path / "1.jpg"
    header = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n"
    path.write_bytes(header + b"showpage\n%%EOF\n")
    with pytest.raises(folder.Unusable, match="PostScript"):
        folder.read_image(path, 16)
    assert not called


def test_other_files_are_ignored_and_counted_by_suffix(tree, audited, capsys):
    for name in ("a.csv", "b.csv", "README", "Training/glioma/notes.txt"):
        (tree / name).write_text("words")
    said = "Ignored, by suffix: 2 .csv, "
    assert said in audited()[1]
    status, report = checked(tree, capsys)
    assert status == 0
    assert said in report and "1 without a suffix" in report and "1 .txt" in report


@pytest.mark.parametrize(
    "clutter", [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".hidden", "$RECYCLE.BIN"]
)
def test_clutter_is_no_class_and_nothing_is_said_of_it(tree, audited, clutter):
    before = audited()[1]
    picture(tree / clutter / "real.jpg", 77)
    picture(tree / "Training" / clutter / "real.jpg", 78)
    assert audited()[1] == before
    assert len(load_dataset(tree, 16)) == 12


@pytest.fixture
def locked(tree, monkeypatch):
    """A class folder that may not be read, until the returned list is emptied."""
    held, scandir = [str(tree / "Training" / "glioma" / "deep")], os.scandir
    picture(tree / "Training/glioma/deep/1.jpg", 55)

    def refuse(path="."):
        if str(path) in held:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return held


def test_a_folder_that_cannot_be_read_is_named(locked, tree, audited, capsys):
    said = "Training/glioma/deep: a folder that cannot be read: Permission denied"
    status, report = audited()
    assert (status, said in report) == (1, True)
    status, report = checked(tree, capsys)
    assert (status, said in report) == (1, True)
    locked[0] = str(tree)
    for run in (audited, lambda: checked(tree, capsys)):
        assert run() == (2, f"{tree} cannot be read: Permission denied. Make it "
                            "readable.\n")  # fmt: skip


def test_an_error_of_the_system_is_not_kept_as_damage(tree, monkeypatch):
    """A network drive that fails once does not cost the image for good."""
    opened, broken = Image.open, [str(tree / "Training/glioma/1.jpg")]

    def fail(path, *arguments, **named):
        if str(path) in broken:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return opened(path, *arguments, **named)

    monkeypatch.setattr(folder.Image, "open", fail)
    first = load_dataset(tree, 16)
    assert len(first) == 11
    assert first.set_aside["reason"].tolist() == [
        "could not be read: Input/output error"
    ]
    broken.clear()
    assert len(load_dataset(tree, 16)) == 12


def test_a_folder_that_may_be_read_again_is_read_again(locked, tree):
    assert len(load_dataset(tree, 16)) == 12
    locked.clear()
    assert len(load_dataset(tree, 16)) == 13


# --- labels that were wrong without a word --------------------------------------------


def test_a_class_in_a_class_is_set_aside_and_a_patient_in_a_class_is_not(
    tree, audited, capsys
):
    picture(tree / "Training/glioma/meningioma_tumor/7.jpg", 71)
    picture(tree / "Training/glioma/patient 4/8.jpg", 72)
    found = folder.find_files(tree)
    nested = "Training/glioma/meningioma_tumor/7.jpg"
    assert found.aside == [(nested, "in folders of two classes, glioma and meningioma")]
    assert "Training/glioma/patient 4/8.jpg" in found.files
    data = folders.read(tree, 32)
    classes = data.table.set_index("file")["class"]
    assert classes["Training/glioma/patient 4/8.jpg"] == "glioma"
    assert nested not in classes
    assert "two classes, glioma and meningioma_tumor" in audited()[1]
    assert checked(tree, capsys)[0] == 1


@pytest.mark.parametrize("target", ["..", "../..", ".", "../meningioma"])
def test_a_link_in_a_circle_or_to_another_class_adds_no_image(tree, target, capsys):
    (tree / "Training/glioma/loop").symlink_to(target)
    found = folder.find_files(tree)
    assert len(found.files) == 12
    said = ("Training/glioma/loop", "a link to a folder that was read already")
    assert found.aside == [said]
    assert len(folders.read(tree, 32)) == 12
    assert checked(tree, capsys)[0] == 1


def test_testing_that_is_a_link_to_training_is_named(tree):
    shutil.rmtree(tree / "Testing")
    (tree / "Testing").symlink_to("Training")
    seen = walk.walk(tree)
    assert seen.problems == [("Testing", "a link to a folder that was read already")]
    with pytest.raises(
        CourseError, match=r"no files in Testing/glioma.*1 times a link"
    ):
        folder.find_files(tree)


def test_a_link_to_itself_and_a_pipe_stop_nothing(tree):
    (tree / "Training/glioma/me").symlink_to("me")
    os.mkfifo(tree / "Training/glioma/pipe")
    os.mkfifo(tree / "Training/glioma/pipe.jpg")
    data = load_dataset(tree, 16)
    assert len(data) == 12
    assert data.set_aside["reason"].str.contains("not a file that can be read").all()


def test_two_folders_that_are_read_as_one_are_named(tree, audited, capsys):
    picture(tree / "train/glioma_tumor/9.jpg", 91)
    assert len(load_dataset(tree, 16)) == 13
    said = capsys.readouterr().err
    assert "Training and train are read as one, Training." in said
    assert "glioma and glioma_tumor are read as one, glioma." in said
    assert "are read as one" in checked(tree, capsys)[1]
    assert "Training and train are read as one, Training." in audited()[1]


def test_validation_images_are_set_aside_by_their_folder(tree, capsys):
    for number in range(5):
        picture(tree / f"val/glioma/{number}.jpg", 60 + number)
    status, report = checked(tree, capsys)
    assert status == 1
    assert "  val/glioma/ (5 files): in a validation folder, which no" in report


# --- pictures of nothing --------------------------------------------------------------


def stack(path: Path) -> None:
    pages = [Image.new("L", (40, 40), 20 * i) for i in range(1, 4)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


NOTHING = {
    "black.png": (lambda p: Image.new("L", (40, 40)).save(p), "are black, or trans"),
    "clear.png": (
        lambda p: Image.new("RGBA", (40, 40), (9, 9, 9, 0)).save(p),
        "are black, or transparent",
    ),
    "dot.png": (lambda p: Image.new("L", (1, 1), 9).save(p), "only 1 x 1 pixels"),
    "stack.tif": (stack, "a stack of 3 pages; save each as a file of its own"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_a_picture_of_nothing_and_a_stack_are_set_aside(name, tmp_path):
    make, reason = NOTHING[name]
    make(tmp_path / name)
    with pytest.raises(folder.Unusable, match=reason):
        folder.read_image(tmp_path / name, 16)


# --- messages -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["healthy", "normal", "глиома"])
def test_a_folder_that_names_no_class_is_named_with_what_to_do(tree, name):
    (tree / "Training/notumor").rename(tree / "Training" / name)
    with pytest.raises(CourseError) as caught:
        load_dataset(tree, 16)
    said = str(caught.value)
    assert "no files in Training/notumor" in said
    assert f"No class is called as Training/{name} (2 files): rename a folder" in said


@pytest.mark.parametrize("name", ["archive.zip", "download"])
def test_an_archive_in_place_of_a_folder_says_to_unpack_it(name, tmp_path, capsys):
    (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(200))
    said = "is not a folder (an archive: unpack it first)"
    with pytest.raises(CourseError, match=re.escape(said)):
        load_dataset(tmp_path / name, 16)
    assert audit([str(tmp_path / name)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "way"),
    [(errno.ENOSPC, "free 0.0 MB there"), (errno.EACCES, "make it writable")],
)
def test_a_cache_that_cannot_be_kept_names_the_right_way_out(
    tree, number, way, monkeypatch, capsys
):
    def refuse(*arguments, **named):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache.tempfile, "mkdtemp", refuse)
    assert len(load_dataset(tree, 16)) == 12
    said = capsys.readouterr().err
    assert f"To keep them, {way}, or name a folder on another disk" in said
    assert ("MB" in said) is (number == errno.ENOSPC)


def test_validation_in_place_of_testing_is_told(tree):
    (tree / "Testing").rename(tree / "valid")
    with pytest.raises(CourseError, match="rename it to Testing if you test on it"):
        load_dataset(tree, 16)


def test_a_class_that_is_all_dicom_says_so(tree):
    shutil.rmtree(tree / "Training/glioma")
    (tree / "Training/glioma").mkdir()
    for number in range(3):
        (tree / f"Training/glioma/{number}.dcm").write_bytes(b"x")
    with pytest.raises(CourseError, match=r"Not used: 3 times DICOM: save its slices"):
        load_dataset(tree, 16)


def test_check_lists_everything_though_a_class_is_empty(tree, capsys):
    for number in (1, 2, 3, 4, 5):
        (tree / f"Training/glioma/{number}.jpg").write_bytes(b"")
    status, report = checked(tree, capsys)
    assert status == 2
    assert "  Training/glioma/ (5 files): empty file" in report
    assert "run python" not in report


# --- the audit's own ways to end ------------------------------------------------------


def test_a_name_that_is_no_text_costs_neither_report_nor_images(tree, audited, capsys):
    picture(tree / "Training/glioma" / "9.jpg", 91).rename(
        tree / "Training/glioma" / LATIN_1
    )
    status, report = audited()
    assert status == 1 and "13 images" in report
    files = (tree.parent / "out" / "files.csv").read_text("utf-8")
    assert "Training/glioma/gl\\udce9.jpg" in files
    assert len(load_dataset(tree, 16)) == 13
    assert checked(tree, capsys)[0] == 0


def test_a_place_that_cannot_be_written_is_told_before_the_work(tree, monkeypatch):
    (tree.parent / "out").write_text("a file")

    def compute(*arguments, **named):
        raise AssertionError("the audit began")

    monkeypatch.setattr(folders, "read", compute)
    assert audit([str(tree), "--out", str(tree.parent / "out")]) == 2


def test_a_disk_that_fills_up_costs_the_files_and_not_the_report(
    tree, audited, monkeypatch
):
    write = Path.write_text

    def full(path, text, *arguments, **named):
        if path.suffix != ".txt" or len(text) > 500:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, text, *arguments, **named)

    monkeypatch.setattr(Path, "write_text", full)
    status, report = audited()
    assert status == 2
    assert "12 images, 0 set aside" in report
    assert "cannot write there (No space left on device)" in report


def test_two_folders_of_one_name_have_two_reports(tree, tmp_path, monkeypatch):
    from helpers.audit import __main__ as program

    monkeypatch.setattr(program, "ROOT", tmp_path / "course")
    other = shutil.copytree(tree, tmp_path / "other" / tree.name)
    for root in (tree, other, tree):
        program.main([str(root)])
    made = sorted((tmp_path / "course" / "_build" / "audit").iterdir())
    assert [p.name.split("-")[0] for p in made] == ["images", "images"]
    assert {(p / "folder.txt").read_text().strip() for p in made} == {
        str(tree),
        str(other),
    }


@pytest.mark.parametrize("program", ["audit", "check"])
def test_ctrl_c_ends_in_one_line(program, tree, monkeypatch, capsys):
    def stop(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "read_image", stop)
    out = ["--out", str(tree.parent / "out")]
    check = program == "check"
    status = main(["check", str(tree)]) if check else audit([str(tree), *out])
    assert status == 130
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("Stopped.")
