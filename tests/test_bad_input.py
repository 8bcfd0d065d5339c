"""Whatever is wrong with what the user names, every command says so in one sentence, and leaves nothing half-written."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from segwright.checkpoint import Checkpoint
from segwright.classes import Classes
from segwright.models.catalogue import build
from segwright.recipe import DataRecipe, ModelRecipe, Recipe
from tests.command import everything_below, one_sentence, refused, segwright
from tests.tiny import make_dataset

SETTINGS = {
    "--model": "lraspp_mobilenet_v3_small",
    "--epochs": "1",
    "--precision": "fp32",
    "--width": "64",
    "--height": "64",
}


def fast(*others: str) -> tuple[str, ...]:
    """Flags of a short run; `others` are flags and values that replace ours."""
    return tuple(itertools.chain.from_iterable((SETTINGS | dict(zip(others[::2], others[1::2], strict=True))).items()))


FAST = fast()


@pytest.fixture(scope="session")
def good_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("good") / "data", size_hw=(64, 64))


@pytest.fixture(scope="session")
def good_run(good_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as training leaves it, with random weights."""
    folder = tmp_path_factory.mktemp("good") / "run"
    recipe = Recipe(data=DataRecipe(height=64, width=64), model=ModelRecipe(model="lraspp_mobilenet_v3_small"))
    classes = Classes(names=("background", "disc"))
    weights = build(recipe.model, classes.channels).state_dict()
    Checkpoint(recipe=recipe, classes=classes, weights=weights).save(folder / "best.safetensors")
    (folder / "data.json").write_text(json.dumps({"data": str(good_data), "classes_csv": None}))
    return folder


@pytest.fixture
def data(good_data: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(good_data, tmp_path / "data"))


def png_that_claims(width: int, height: int) -> bytes:
    """A 1-bit PNG of that size whose pixels are all zero: small on disk, huge in memory."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width // 8 + 1) * 64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def first(data: Path, split: str, kind: str) -> Path:
    return min((data / split / kind).iterdir())


def spoil_text(data: Path, split: str) -> Path:
    old = first(data, split, "images")
    new = old.with_suffix(".jpg")
    old.unlink()
    new.write_text("this is a shopping list\n")
    return new


def spoil_truncated(data: Path, split: str) -> Path:
    picture = first(data, split, "images")
    # Noise does not compress, so that half of the file is surely half of the picture.
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(picture)
    picture.write_bytes(picture.read_bytes()[:4000])
    return picture


def spoil_huge(data: Path, split: str) -> Path:
    picture = first(data, split, "images")
    picture.write_bytes(png_that_claims(40_000, 40_000))
    return picture


def spoil_empty_mask(data: Path, split: str) -> Path:
    mask = first(data, split, "masks")
    mask.write_bytes(b"")
    return mask


def spoil_mask_size(data: Path, split: str) -> Path:
    mask = first(data, split, "masks")
    Image.fromarray(np.zeros((32, 48), np.uint8)).save(mask)
    return mask


PICTURES: dict[str, Callable[[Path, str], Path]] = {
    "text": spoil_text,
    "truncated": spoil_truncated,
    "huge": spoil_huge,
}
PAIRS = PICTURES | {"empty mask": spoil_empty_mask, "mask of another size": spoil_mask_size}


# --- Folders of pictures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "train", "evaluate", "predict", "export", "quickstart"])
@pytest.mark.parametrize("what", ["absent", "empty", "a file", "not pictures"])
def test_a_folder_without_data(command: str, what: str, good_run: Path, tmp_path: Path) -> None:
    place, out = tmp_path / "place", tmp_path / "out"
    if what == "a file":
        place.write_text("x")
    elif what != "absent":
        place.mkdir()
    if what == "not pictures":
        (place / "notes.txt").write_text("x")
    said = refused(
        *{
            "check": ("check", place, "--json", out),
            "train": ("train", place, "--out", out, *FAST),
            "evaluate": ("evaluate", good_run, place, "--out", out),
            "predict": ("predict", good_run, place, "--out", out),
            "export": ("export", good_run, "--data", place, "--out", out / "model.onnx"),
            "quickstart": ("quickstart", "--data", place, "--out", out, "--minutes", "0.01"),
        }[command]
    )
    assert str(place) in said
    # quickstart proves before anything else that it can write; nothing else makes a folder for nothing.
    assert everything_below(out) == set() if out.exists() else True


@pytest.mark.parametrize("kind", PAIRS)
def test_check_finds_and_exits_with_one(kind: str, data: Path) -> None:
    spoiled = PAIRS[kind](data, "train")
    answer = segwright("check", data)
    assert (answer.code, answer.err) == (1, "")
    assert spoiled.stem in answer.out.replace("\n", "")


@pytest.mark.parametrize(
    ("kind", "split", "workers"),
    # Only what decoding finds is met by a loading process.
    [*((kind, split, "0") for kind in PAIRS for split in ("train", "val")), ("truncated", "train", "1")],
)
def test_train_refuses(kind: str, split: str, workers: str, data: Path, tmp_path: Path) -> None:
    PAIRS[kind](data, split)
    said = refused("train", data, "--out", tmp_path / "out", "--workers", workers, *FAST)
    assert "segwright check" in said or "copy it again" in said
    assert not list(tmp_path.rglob("*partial*"))
    assert not (tmp_path / "out" / "best.safetensors").exists()


@pytest.mark.parametrize("kind", PAIRS)
def test_evaluate_refuses(kind: str, data: Path, good_run: Path, tmp_path: Path) -> None:
    spoiled = PAIRS[kind](data, "test")
    said = refused("evaluate", good_run, data, "--out", tmp_path / "out")
    assert spoiled.name in said
    assert not (tmp_path / "out").exists() or everything_below(tmp_path / "out") == set()


@pytest.mark.slow  # each converts the network before it reads a picture
@pytest.mark.parametrize("kind", PICTURES)
def test_export_refuses(kind: str, data: Path, good_run: Path, tmp_path: Path) -> None:
    spoiled = PICTURES[kind](data, "test")
    said = refused("export", good_run, "--data", data, "--out", tmp_path / "out" / "model.onnx")
    assert spoiled.name in said
    assert not (tmp_path / "out").exists() or everything_below(tmp_path / "out") == set()


@pytest.mark.parametrize("kind", PICTURES)
def test_predict_one_bad_picture(kind: str, data: Path, good_run: Path, tmp_path: Path) -> None:
    spoiled = PICTURES[kind](data, "test")
    said = refused("predict", good_run, spoiled, "--out", tmp_path / "out")
    assert str(spoiled) in said
    assert not list((tmp_path / "out").rglob("*.png"))


def test_predict_goes_on_past_a_bad_picture_and_says_so(data: Path, good_run: Path, tmp_path: Path) -> None:
    spoiled = spoil_truncated(data, "test")
    answer = segwright("predict", good_run, data / "test" / "images", "--out", tmp_path / "out")
    assert answer.code == 1
    assert str(spoiled) in one_sentence(answer.err)
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 2
    assert "2 pictures" in answer.out


@pytest.mark.parametrize("option", ["--backgrounds", "--faces"])
@pytest.mark.parametrize("what", ["absent", "empty", "text"])
def test_synth_refuses(option: str, what: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    if what != "absent":
        place.mkdir()
    if what == "text":
        (place / "a.jpg").write_text("no picture")
    said = refused("synth", "cards", tmp_path / "out", "--count", "3", "--workers", "1", option, place)
    assert str(place) in said
    assert everything_below(tmp_path) <= {"place", "place/a.jpg"}


@pytest.mark.parametrize(
    "setting", [("--count", "0"), ("--count", "-3"), ("--width", "0"), ("--height", "-1"), ("--clutter", "7")]
)
def test_synth_refuses_numbers(setting: tuple[str, str], tmp_path: Path) -> None:
    refused("synth", "cards", tmp_path / "out", *setting)
    assert everything_below(tmp_path) == set()


# --- Places to write -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["below a file", "/dev/null/out", "/proc/segwright/out"])
@pytest.mark.parametrize(
    "command", ["synth", "check json", "check fix", "train", "evaluate", "predict", "export", "quickstart"]
)
def test_an_unwritable_place(command: str, place: str, good_data: Path, good_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    out = tmp_path / "file" / "out" if place == "below a file" else Path(place)
    said = refused(
        *{
            "synth": ("synth", "cards", out, "--count", "3", "--width", "64", "--height", "64", "--workers", "1"),
            "check json": ("check", good_data, "--json", out),
            "check fix": ("check", good_data, "--fix", out),
            "train": ("train", good_data, "--out", out, *FAST),
            "evaluate": ("evaluate", good_run, "--out", out),
            "predict": ("predict", good_run, good_data / "test" / "images", "--out", out),
            "export": ("export", good_run, "--out", out / "model.onnx", "--pictures", "1"),
            "quickstart": ("quickstart", "--data", good_data, "--out", out, "--minutes", "0.01"),
        }[command]
    )
    assert str(out) in said
    assert everything_below(tmp_path) == {"file"}


@pytest.mark.parametrize("command", ["synth", "check fix", "train", "quickstart"])
def test_a_taken_place_is_not_overwritten(command: str, good_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("x")
    refused(
        *{
            "synth": ("synth", "cards", out, "--count", "3"),
            "check fix": ("check", good_data, "--fix", out),
            "train": ("train", good_data, "--out", out, *FAST),
            "quickstart": ("quickstart", "--data", good_data, "--out", out),
        }[command]
    )
    assert everything_below(tmp_path) == {"out", "out/precious.txt"}


# --- Models ----------------------------------------------------------------------------------------------------------


class Bomb:
    """Unpickling this runs a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.proof}",)


def foreign_onnx() -> bytes:
    """A valid graph that is not ours."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "foreign",
        [value("x", onnx.TensorProto.FLOAT, [1, 3])],
        [value("y", onnx.TensorProto.FLOAT, [1, 3])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def bad_model(kind: str, place: Path, good_run: Path) -> Path:
    what, _, suffix = kind.partition(".")
    model = place / f"model.{suffix}"
    whole = (good_run / "best.safetensors").read_bytes() if suffix == "safetensors" else foreign_onnx()
    if what == "truncated":
        model.write_bytes(whole[: len(whole) // 2])
    elif what == "header":
        model.write_bytes(whole[:100])
    elif what == "empty":
        model.write_bytes(b"")
    elif what == "noise":
        model.write_bytes(np.random.default_rng(0).bytes(5000))
    elif what == "foreign" and suffix == "safetensors":
        save_file({"weight": torch.zeros(3)}, model)
    elif what == "foreign":
        model.write_bytes(whole)
    elif what == "bomb":
        model.write_bytes(pickle.dumps(Bomb(place / "executed")))
    elif what == "torch bomb":
        torch.save(Bomb(place / "executed"), model)
    elif what == "folder":
        model.mkdir()
    return model


BAD_MODELS = [
    *(
        f"{what}.safetensors"
        for what in ("absent", "truncated", "header", "empty", "noise", "foreign", "bomb", "folder")
    ),
    *(f"{what}.onnx" for what in ("absent", "truncated", "empty", "noise", "foreign", "bomb", "folder")),
    "bomb.pt",
    "torch bomb.pt",
    "absent.run",
    "folder.run",
    "noise.tflite",
]


@pytest.mark.parametrize("kind", BAD_MODELS)
@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
def test_a_bad_model(command: str, kind: str, good_data: Path, good_run: Path, tmp_path: Path) -> None:
    model = bad_model(kind, tmp_path, good_run)
    before, out = everything_below(tmp_path), tmp_path / "out"
    said = refused(
        *{
            "evaluate": ("evaluate", model, good_data, "--out", out),
            "predict": ("predict", model, good_data / "test" / "images", "--out", out),
            "export": ("export", model, "--data", good_data, "--out", out / "model.onnx"),
        }[command]
    )
    assert model.name in said
    assert everything_below(tmp_path) == before
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", [k for k in BAD_MODELS if not k.endswith((".run", ".onnx", ".tflite"))])
def test_bad_weights_to_start_from(kind: str, good_data: Path, good_run: Path, tmp_path: Path) -> None:
    weights = bad_model(kind, tmp_path, good_run)
    before = everything_below(tmp_path)
    said = refused("train", good_data, "--out", tmp_path / "out", *FAST, "--weights", weights)
    assert weights.name in said
    assert not (tmp_path / "executed").exists()
    assert everything_below(tmp_path) - {"out"} == before


def test_weights_of_another_network_are_refused_by_name(good_data: Path, good_run: Path, tmp_path: Path) -> None:
    facts = json.loads((good_run / "best.json").read_text())
    facts["recipe"]["model"]["model"] = "lraspp_mobilenet_v3_large"
    from safetensors.torch import load_file

    save_file(load_file(good_run / "best.safetensors"), tmp_path / "m.safetensors", {"segwright": json.dumps(facts)})
    said = refused("evaluate", tmp_path / "m.safetensors", good_data, "--out", tmp_path / "out")
    assert "do not fit" in said


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 99),
        (("format",), "one"),
        (("threshold",), 7.0),
        (("threshold",), None),
        (("classes", "names"), ["alone"]),
        (("recipe", "data", "width"), 0),
        (("recipe", "data", "width"), 10**9),
        (("recipe", "data", "width"), "wide"),
        (("recipe", "data", "fit"), "squeeze"),
        (("recipe", "model", "model"), "resnet"),
        (("recipe",), None),
        (("scores",), ["a"]),
    ],
)
def test_changed_facts(path: tuple[str, ...], value: Any, good_data: Path, good_run: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    facts = json.loads((good_run / "best.json").read_text())
    table = facts
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    model = tmp_path / "changed.safetensors"
    save_file(load_file(good_run / "best.safetensors"), model, {"segwright": json.dumps(facts)})
    refused("predict", model, good_data / "test" / "images", "--out", tmp_path / "out")
    assert everything_below(tmp_path) == {"changed.safetensors"}


# --- Class tables, recipes, settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "train", "evaluate", "export"])
@pytest.mark.parametrize("text", [None, "", "a,b\n1,2\n", "index,name\n0,only\n", "index,name\nx,y\n", "\x00\xff"])
def test_a_bad_class_table(command: str, text: str | None, good_data: Path, good_run: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "table.csv", tmp_path / "out"
    if text is not None:
        table.write_bytes(text.encode("latin-1"))
    refused(
        *{
            "check": ("check", good_data),
            "train": ("train", good_data, "--out", out, *FAST),
            "evaluate": ("evaluate", good_run, good_data, "--out", out),
            "export": ("export", good_run, "--data", good_data, "--out", out / "model.onnx"),
        }[command],
        "--classes",
        table,
    )
    assert everything_below(tmp_path) <= {"table.csv"}


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "- a\n",
        "fit: 3\n",
        "fit: {epohs: 3}\n",
        "fit: {epochs: three}\n",
        "fit: {epochs: null}\n",
        "data: {width: 31, height: 31}\n",
        "data: {augment: wild}\n",
        "model: {model: 7}\n",
        "name: [1]\n",
        "{unclosed\n",
        "!!python/object/apply:os.system ['touch executed']\n",
        "\x00",
    ],
)
def test_a_bad_recipe(text: str | None, good_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my.yaml"
    if text is not None:
        file.write_text(text)
    refused("train", good_data, "--out", tmp_path / "out", "--recipe", file)
    refused("recipe", file)
    assert everything_below(tmp_path) <= {"my.yaml"}


@pytest.mark.parametrize(
    "settings",
    [
        ("--precision", "fp16", "--device", "cpu"),
        ("--loss", "focul"),
        ("--loss", ""),
        ("--model", "resnet"),
        ("--model", "Unet", "--encoder", "nope"),
        ("--lr", "nan"),
        ("--lr", "inf"),
        ("--lr", "-1"),
        ("--epochs", "0"),
        ("--minutes", "nan"),
        ("--minutes", "-1"),
        ("--batch-size", "0"),
        ("--ema", "1"),
        ("--width", "31"),
        ("--width", "100000"),
        ("--val-share", "nan"),
        ("--cache-gb", "nan"),
        ("--clip", "nan"),
        ("--weight-decay", "nan"),
        ("--seed", "-1"),
        ("--mask-suffix", "_nope"),
    ],
)
def test_train_refuses_settings(settings: tuple[str, ...], good_data: Path, tmp_path: Path) -> None:
    refused("train", good_data, "--out", tmp_path / "out", *fast(*settings))
    assert everything_below(tmp_path) <= {"out"}


def test_numbers_out_of_range(good_data: Path, good_run: Path, tmp_path: Path) -> None:
    pictures = good_data / "test" / "images"
    refused("predict", good_run, pictures, "--out", tmp_path / "out", "--threshold", "1.5")
    refused("predict", good_run, pictures, "--out", tmp_path / "out", "--threshold", "nan")
    refused("export", good_run, "--out", tmp_path / "model.onnx", "--pictures", "0")
    refused("export", good_run, "--out", tmp_path / "model.onnx", "--pictures", "-5")
    said = refused("evaluate", good_run, "--out", tmp_path / "out", "--split", "tset")
    assert "test" in said
    refused("quickstart", "--out", tmp_path / "out", "--count", "0")
    refused("quickstart", "--out", tmp_path / "out", "--minutes", "-1")
    assert everything_below(tmp_path) <= {"out"}


# --- Data that would spoil the training ------------------------------------------------------------------------------


def test_ink_of_255_with_three_declared_classes_is_refused(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", classes=3, size_hw=(64, 64), notation="binary")
    said = refused("train", data, "--out", tmp_path / "out", *FAST)
    assert "meaningless" in said
    assert not (tmp_path / "out").exists()


def test_a_class_that_nobody_has_is_refused(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", classes=2, size_hw=(64, 64), notation="index")
    table = data / "classes.csv"
    table.write_text(table.read_text() + "2,unicorn,255,0,0,0\n")
    said = refused("train", data, "--out", tmp_path / "out", *FAST)
    assert "unicorn" in said


@pytest.mark.parametrize(("value", "elsewhere"), [(1, 1), (255, 255), (1, 255)], ids=["ones", "white", "ignored"])
def test_one_class_that_nobody_declared_is_refused(value: int, elsewhere: int, tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", size_hw=(64, 64), declared=False)
    for mask in data.rglob("masks/*.png"):
        Image.fromarray(np.where(np.asarray(Image.open(mask)) > 0, value, elsewhere).astype(np.uint8)).save(mask)
    said = refused("train", data, "--out", tmp_path / "out", *FAST)
    assert "all that is labelled is foreground" in said
    assert not (tmp_path / "out").exists()


def test_checking_with_what_was_learnt_is_refused(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", size_hw=(64, 64))
    shutil.rmtree(data / "val")
    shutil.copytree(data / "train", data / "val")
    said = refused("train", data, "--out", tmp_path / "out", *FAST)
    assert "val" in said


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def interrupted(arguments: list[object], ready: Callable[[], bool], tmp_path: Path) -> tuple[int, str]:
    """Run a command in a process of its own, send Ctrl-C once it is at work, and give its exit code and stderr."""
    error = tmp_path / "stderr.txt"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with error.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "segwright", *(str(a) for a in arguments)],
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env=environment,
            start_new_session=True,
        )
        try:
            patience = time.monotonic() + 120
            while not ready():
                assert process.poll() is None, error.read_text()
                assert time.monotonic() < patience, "the command never began to work"
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
            process.wait(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    text = error.read_text()
    error.unlink()
    return process.returncode, text


def test_ctrl_c_while_drawing(tmp_path: Path) -> None:
    code, err = interrupted(
        ["synth", "cards", tmp_path / "out", "--count", "3000", "--workers", "2"],
        lambda: any(tmp_path.rglob("*.png")) or any(tmp_path.rglob("*.jpg")),
        tmp_path,
    )
    one_sentence(err)
    assert code == 2
    assert everything_below(tmp_path) == set()


def test_ctrl_c_while_training(good_data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, err = interrupted(
        ["train", good_data, "--out", run, *fast("--epochs", "10000", "--patience", "0")],
        lambda: (run / "log.csv").exists(),
        tmp_path,
    )
    assert str(run) in one_sentence(err)
    assert code == 2
    assert not [path for path in everything_below(tmp_path) if "partial" in path or "probe" in path]
    # What was kept can be used.
    assert segwright("predict", run, good_data / "test" / "images", "--out", tmp_path / "out").code == 0


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_ctrl_c_while_measuring_or_predicting(command: str, good_data: Path, good_run: Path, tmp_path: Path) -> None:
    many = Path(shutil.copytree(good_data, tmp_path / "many"))
    for kind in ("images", "masks"):
        picture = first(many, "test", kind).read_bytes()
        for number in range(1500):
            (many / "test" / kind / f"{number}.png").write_bytes(picture)
    out = tmp_path / "out"
    arguments: list[object] = (
        ["predict", good_run, many / "test" / "images", "--out", out]
        if command == "predict"
        else ["evaluate", good_run, many, "--out", out]
    )
    code, err = interrupted(
        arguments,
        (lambda: any(out.rglob("masks/*.png"))) if command == "predict" else out.exists,
        tmp_path,
    )
    one_sentence(err)
    assert code == 2
    left = everything_below(tmp_path)
    assert not [path for path in left if "partial" in path or "probe" in path]
    assert command == "predict" or not out.exists() or everything_below(out) == set()


def test_ctrl_c_while_exporting(good_data: Path, good_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # The folder is made when the work begins.
    code, err = interrupted(
        ["export", good_run, "--data", good_data, "--out", out / "model.onnx"], out.exists, tmp_path
    )
    one_sentence(err)
    assert code == 2
    assert not out.exists() or everything_below(out) == set()
