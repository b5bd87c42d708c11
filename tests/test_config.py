"""One reader of settings: whole paths, allowed names, and a start block that marks."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import helpers
from helpers import config
from helpers.config import ROOT, CourseError

DATA, WEIGHTS = config.data_setting, config.weights_setting
MISTYPED = {
    "Kaggle": ("BRAIN_MRI_DATA", DATA, "did you mean kaggle"),
    "phantoms": ("BRAIN_MRI_DATA", DATA, "did you mean phantom"),
    "PHANTOM": ("BRAIN_MRI_DATA", DATA, "did you mean phantom"),
    "ImageNet": ("BRAIN_MRI_WEIGHTS", WEIGHTS, "did you mean imagenet"),
    "bundle": ("BRAIN_MRI_WEIGHTS", WEIGHTS, "did you mean bundled"),
    "~nobody-of-this-name/x": ("BRAIN_MRI_DATA", DATA, "is no path"),
}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("DATA", "WEIGHTS", "CACHE", "FIGSHARE"):
        monkeypatch.delenv(f"BRAIN_MRI_{name}", raising=False)
    monkeypatch.delenv("COURSE_PROFILE", raising=False)


@pytest.mark.parametrize("value", MISTYPED)
def test_a_mistyped_name_is_refused_and_marked_at_the_start(value, monkeypatch, capsys):
    variable, read, message = MISTYPED[value]
    monkeypatch.setenv(variable, value)
    with pytest.raises(CourseError, match=message):
        read()
    helpers.start()
    marked = [line for line in capsys.readouterr().out.splitlines() if message in line]
    assert len(marked) == 1 and "NOT USABLE" in marked[0]


@pytest.mark.parametrize("variable", ["BRAIN_MRI_DATA", "BRAIN_MRI_WEIGHTS"])
def test_a_path_where_nothing_is_is_marked_at_the_start(variable, monkeypatch, capsys):
    monkeypatch.setenv(variable, "/no/such/place")
    helpers.start()
    assert f"NOT FOUND: /no/such/place ({variable})" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "read"),
    [
        ("BRAIN_MRI_DATA", DATA),
        ("BRAIN_MRI_WEIGHTS", WEIGHTS),
        ("BRAIN_MRI_CACHE", config.cache_dir),
        ("BRAIN_MRI_FIGSHARE", config.figshare_dir),
    ],
)
def test_a_path_is_whole_wherever_python_runs(variable, read, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "~/a folder")
    assert str(read()) == f"{tmp_path}/a folder"
    monkeypatch.chdir(ROOT / "chapters")  # where notebooks run
    monkeypatch.setenv(variable, "data/not there yet")
    assert str(read()) == str(ROOT / "data" / "not there yet")
    monkeypatch.setenv(variable, " ./index.md ")  # this one is here
    assert str(read()) == str(ROOT / "chapters" / "index.md")


def test_the_cache_of_a_home_folder_makes_no_folder_named_by_a_tilde(
    monkeypatch, tmp_path
):
    from helpers.datasets import load_dataset

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BRAIN_MRI_CACHE", "~/cache")
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    monkeypatch.chdir(tmp_path)
    load_dataset(pixels=16)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


# --- the device -----------------------------------------------------------------------


def nvidia_smi(folder: Path, script: str, monkeypatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_gpu_that_is_not_used_is_said_to_be_there(tmp_path, monkeypatch):
    nvidia_smi(tmp_path, "echo Tesla T4", monkeypatch)
    monkeypatch.setattr(helpers, "_uses_gpu", lambda: False)
    assert "a GPU is there, not used: Tesla T4. Use it" in helpers._device()
    assert helpers._device().startswith("CPU")
    monkeypatch.setattr(helpers, "_uses_gpu", lambda: True)
    assert helpers._device() == "GPU: Tesla T4"


@pytest.mark.parametrize(
    ("backend", "packages", "used"),
    [
        ("tensorflow", ["tensorflow-cpu"], False),
        ("tensorflow", ["tensorflow"], True),
        ("tensorflow", ["tensorflow-cpu", "jax-cuda12-plugin"], False),
        ("jax", ["tensorflow-cpu", "jax-cuda12-plugin"], True),
        ("jax", ["tensorflow", "jax"], False),
    ],
)
def test_a_gpu_is_used_if_the_backend_was_installed_for_it(
    backend, packages, used, monkeypatch
):
    class Package:
        def __init__(self, name):
            self.name = name

    monkeypatch.setenv("KERAS_BACKEND", backend)
    installed = [Package(name) for name in packages]
    monkeypatch.setattr(helpers.metadata, "distributions", lambda: installed)
    assert helpers._uses_gpu() is used


@pytest.mark.parametrize("fault", ["hangs", "is no program", "fails"])
def test_an_nvidia_smi_that_is_broken_does_not_stop_the_start(
    fault, tmp_path, monkeypatch
):
    script = "exit 9" if fault == "fails" else "sleep 60"
    nvidia_smi(tmp_path, script, monkeypatch)
    if fault == "is no program":
        (tmp_path / "nvidia-smi").write_bytes(b"\0\1\2")
    run = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda *a, **n: run(*a, **n | {"timeout": 0.2})
    )
    assert helpers._device().startswith(f"CPU, {os.cpu_count()} cores")
    assert ("does not answer" in helpers._device()) is (fault != "fails")


# --- Keras' own settings --------------------------------------------------------------


def python(code: str, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True
    )


def test_another_backend_is_replaced_with_a_word():
    code = "import helpers, os; print(os.environ['KERAS_BACKEND'])"
    answer = python(code, KERAS_BACKEND="torch")
    assert answer.stdout == "tensorflow\n"
    assert "runs on tensorflow or jax, and now takes tensorflow" in answer.stderr


def test_an_old_keras_json_changes_neither_backend_nor_precision(tmp_path):
    (tmp_path / "keras.json").write_text(
        '{"backend": "theano", "floatx": "float16", "epsilon": 1e-07, '
        '"image_data_format": "channels_first"}'
    )
    code = (
        "from helpers import densenet; import keras\n"
        "model = keras.Sequential([keras.layers.Dense(1)])\n"
        "model.build((None, 2))\n"
        "print(keras.backend.backend(), model.layers[0].kernel.dtype, "
        "keras.config.image_data_format())"
    )
    answer = python(code, KERAS_HOME=str(tmp_path), KERAS_BACKEND="")
    assert answer.stdout == "tensorflow float32 channels_last\n", answer.stderr


# --- how commands end -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (CourseError("x.csv: is empty."), 2, "x.csv: is empty."),
        (OSError(errno.ENOSPC, "No space left", "/x/y"), 2, "/x/y: No space left."),
        (PermissionError(errno.EACCES, "Permission denied"), 2, "Permission denied."),
        (KeyboardInterrupt(), 130, "Stopped. Nothing was finished."),
    ],
)
def test_a_command_that_ends_early_says_why_in_one_line(error, status, said, capsys):
    @config.command
    def main() -> int:
        raise error

    assert main() == status
    assert capsys.readouterr().err.strip() == said


def test_a_name_that_the_terminal_cannot_print_costs_nothing():
    code = (
        "from helpers import config\n"
        "@config.command\n"
        "def main(): print(b'gl\\xe9.jpg'.decode(errors='surrogateescape')); return 0\n"
        "print(main())"
    )
    answer = python(code, PYTHONUTF8="1")
    assert answer.stdout == "gl\\udce9.jpg\n0\n"
