"""Write the parts of the documentation that are made from the code: pages, tables and the tree, between markers.

python docs/make_pages.py            write what has changed
python docs/make_pages.py --check    say what has changed, write nothing, exit code 1
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import io
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SRC = ROOT / "src" / "segwright"
END = "<!-- end -->"
HELP_WIDTH = 100


def marker(name: str) -> str:
    """The line that begins a generated part."""
    return f"<!-- made by docs/make_pages.py: {name} -->"


def first_line(path: Path) -> str:
    """First line of a file's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


# --- the tree ----------------------------------------------------------------------------------------------------------

ROOMS = (
    *("data", "models", "engines", "training", "predict", "evaluation", "export", "foundation"),
    *("workflows", "app", "commands"),
)
"""Folders in the order of the journey; files at the top come first, in the order of the floors."""

TOP = (
    *("__init__", "__main__", "cli", "errors", "outputs", "classes", "recipe", "masks", "metrics"),
    *("preprocess", "tiling", "render", "checkpoint"),
)


SAID = {"__init__.py": "the public names and the version"}
"""The package's own first line says what all of it is."""

LONGEST, SHORTEST = 88, 30
"""Characters beside a file's name: at most so many, and hardly fewer."""


def half_line(sentence: str) -> str:
    """The part of a first line that fits beside a file's name."""
    whole = re.sub(r"^`?[A-Za-z]\w*`?: ", "", re.split(r"\. (?=[A-Z])", sentence)[0].removesuffix("."))
    short = whole
    for ends in (r" - |: |; | \(", r", "):
        if len(short) > LONGEST:
            cuts = [whole[: found.start()] for found in re.finditer(ends, whole)]
            short = max((cut for cut in cuts if SHORTEST <= len(cut) <= LONGEST), key=len, default=whole)
    first = short.partition(" ")[0]
    return short[0].lower() + short[1:] if first[1:].islower() or len(first) == 1 else short


def tree() -> str:
    """The package, one line for each file and folder."""

    def place(path: Path) -> tuple[int, str]:
        stem = path.stem
        return (TOP.index(stem) if stem in TOP else len(TOP), stem)

    lines = ["src/segwright/"]
    top = sorted(SRC.glob("*.py"), key=place)
    lines += [f"  {path.name:<22}{SAID.get(path.name) or half_line(first_line(path))}" for path in top]
    folders = [path for path in SRC.iterdir() if (path / "__init__.py").is_file()]
    for folder in sorted(folders, key=lambda p: (ROOMS.index(p.name) if p.name in ROOMS else len(ROOMS), p.name)):
        lines.append(f"  {folder.name + '/':<22}{half_line(first_line(folder / '__init__.py'))}")
        files = sorted(path for path in folder.glob("*.py") if path.stem != "__init__")
        lines += [f"    {path.name:<20}{half_line(first_line(path))}" for path in files]
    return "\n".join(["```text", *lines, "```"])


# --- data --------------------------------------------------------------------------------------------------------------

MEANINGS = {
    "no_masks": "No picture has a mask.",
    "too_few": "Fewer than two usable pairs to train from, or no train part at all.",
    "split_without_masks": "A whole split has pictures only: it can be predicted, not measured.",
    "picture_without_mask": "Training leaves these pictures out.",
    "mask_without_picture": "Masks that belong to nothing.",
    "too_many_pixels": "Over 200 million pixels: too large to be decoded safely.",
    "unreadable_picture": "Damaged, cut off or not a picture.",
    "unreadable_mask": "The same for masks.",
    "exif_rotation": "The picture's EXIF note turns it, the mask was drawn on the unturned pixels.",
    "size_differs": "Mask and picture have different sizes.",
    "exif_unsure": "Turned or mirrored by EXIF, and the size cannot tell whether the mask was too; look at a few.",
    "0_255_for_index": "Numbered classes are declared, but the masks are only 0 and 255, and white would be ignored.",
    "dark_foreground": "Black-and-white masks whose foreground is darker than 128, such as 0 and 100.",
    "unowned_values": "Values or colours that no class declares; training ignores those pixels. Spoils from 1 % of all pixels.",
    "class_without_pixels": "A class that occurs nowhere. Spoils when the classes were declared, or when only one is left.",
    "class_missing_in_split": "A class that one split lacks: not learned there, or not measured.",
    "all_ignored": "Masks that say nothing about any pixel.",
    "empty_masks": "Masks with nothing but background. Fine for a few; spoils when it is all of them.",
    "inverted_masks": "The foreground fills most of the picture and its border: black and white look swapped.",
    "val_equals_train": "Every validation picture is a training picture.",
    "test_equals_train": "Every test picture is a training picture.",
    "same_picture_in_two_splits": "Some pictures of val or test are in train, pixel for pixel.",
    "same_picture_in_val_and_test": "What is chosen on val then flatters test.",
    "same_picture_twice": "Repeats inside one split.",
    "near_duplicates": "Nearly equal pictures in different splits: copies, or neighbouring frames of a video.",
    "near_duplicates_not_checked": "Too many pictures to look for nearly equal ones.",
    "classes_guessed": "There is no class table, so classes were read from the masks.",
    "grey_pictures": "Read as RGB with three equal channels.",
    "transparent_pictures": "Laid on white.",
    "16_bit_pictures": "Scaled to 8 bits.",
    "cmyk_pictures": "Converted to RGB.",
    "jpeg_masks": "JPEG blurs values; the nearest class is taken.",
}
"""What each kind of finding of data/health.py means; a kind without an entry stops this program."""

SEVERITIES = ("spoils", "warns", "notes")


@dataclasses.dataclass(frozen=True)
class Reported:
    """What the source of data/health.py says about one kind of finding."""

    kind: str
    severities: tuple[str, ...]
    repair: str | None


def reported() -> list[Reported]:
    """Every kind of finding that data/health.py can report, in its order."""
    module = ast.parse((SRC / "data" / "health.py").read_text(encoding="utf-8"))
    constants = _assigned(module.body)
    found: dict[str, Reported] = {}
    for function in (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name != "_finding"):
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "_finding":
                before_it = [n for n in ast.walk(function) if isinstance(n, ast.stmt) and n.lineno < call.lineno]
                known = constants | _assigned(before_it)
                repair = call.args[4] if len(call.args) > 4 else None
                severities = [s for s in SEVERITIES if s in _strings(call.args[1], known)]
                mended = next(iter(_strings(repair, known)), None) if repair is not None else None
                for kind in _kinds(call.args[0], function):
                    before = found.get(kind, Reported(kind, (), None))
                    both = tuple(s for s in SEVERITIES if s in (*before.severities, *severities))
                    found[kind] = Reported(kind, both, mended or before.repair)
    return list(found.values())


def _assigned(statements: list[ast.stmt]) -> dict[str, ast.expr]:
    """Name -> what is assigned to it last."""
    values: dict[str, ast.expr] = {}
    for node in sorted(statements, key=lambda statement: statement.lineno):
        if isinstance(node, ast.Assign):
            values |= {ast.unparse(target): node.value for target in node.targets}
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            values[ast.unparse(node.target)] = node.value
    return values


def _strings(node: ast.expr, known: dict[str, ast.expr]) -> list[str]:
    """Strings an expression may give, names followed to what was assigned to them."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        # What is filled in differs from data set to data set.
        return ["".join(str(v.value) if isinstance(v, ast.Constant) else "..." for v in node.values)]
    if isinstance(node, ast.IfExp):
        return _strings(node.body, known) + _strings(node.orelse, known)
    if isinstance(node, ast.Name):
        value = known.get(node.id)
        rest = {name: other for name, other in known.items() if name != node.id}
        return _strings(value, rest) if value is not None else []
    return []


def _kinds(node: ast.expr, function: ast.FunctionDef) -> list[str]:
    """Names of findings: a constant, a name with the loop's own value in it, or the keys of the table that is walked."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        loop = next(n for n in ast.walk(function) if isinstance(n, ast.For) and isinstance(n.iter, ast.Tuple))
        ends = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        return [f"{value}{ends}" for value in ast.literal_eval(loop.iter)]
    table = next(n for n in ast.walk(function) if isinstance(n, ast.Dict))
    return [str(key.value) for key in table.keys if isinstance(key, ast.Constant)]


def findings() -> str:
    """Table of everything that the health check may report."""
    kinds = reported()
    unknown = {r.kind for r in kinds} ^ MEANINGS.keys()
    if unknown:
        raise SystemExit(f"MEANINGS and data/health.py differ in: {', '.join(sorted(unknown))}")
    lines = ["| finding | severity | what it means | what `--fix` does |", "|---|---|---|---|"]
    for r in sorted(kinds, key=lambda r: SEVERITIES.index(r.severities[0])):
        mended = (r.repair or "-").replace("swap ... and ...", "swap the two classes")
        lines.append(f"| `{r.kind}` | {' or '.join(r.severities)} | {MEANINGS[r.kind]} | {mended} |")
    return "\n".join(lines)


def layouts() -> str:
    """Table of the layouts, in the order in which they are tried."""
    module = ast.parse((SRC / "data" / "layouts.py").read_text(encoding="utf-8"))
    said = {n.name: ast.get_docstring(n) or "" for n in module.body if isinstance(n, ast.FunctionDef)}
    table = _assigned(module.body)["LAYOUTS"]
    if not isinstance(table, ast.Dict):
        raise SystemExit("LAYOUTS of data/layouts.py is no longer a dict literal; mend layouts() in docs/make_pages.py")
    names = [str(key.value) for key in table.keys if isinstance(key, ast.Constant)]
    rows = [f"| `{name}` | {said[name].partition(chr(10))[0]} |" for name in names]
    return "\n".join(["| layout | how the folder looks |", "|---|---|", *rows])


# --- recipes -----------------------------------------------------------------------------------------------------------


def settings() -> str:
    """Table of every setting of a recipe, part by part."""
    flags, recipe = (importlib.import_module(f"segwright.{name}") for name in ("commands.settings", "recipe"))
    lines: list[str] = []
    for part, kind in recipe.PARTS.items():
        said, kinds = flags.field_sentences(kind), get_type_hints(kind)
        lines += [f"### {part}", "", "| flag | default | values | what it does |", "|---|---|---|---|"]
        for field in dataclasses.fields(kind):
            flag, default = field.name.replace("_", "-"), _plainly(field.default)
            sentence = said[field.name].replace("|", "\\|")
            lines.append(f"| `--{flag}` | {default} | {_values(kinds[field.name])} | {sentence} |")
        lines.append("")
    return "\n".join(lines).strip()


def named_recipes() -> str:
    """Table of the named recipes: what each sets differently from the defaults."""
    recipe = importlib.import_module("segwright.recipe")
    lines = ["| recipe | for | differs from the defaults in |", "|---|---|---|"]
    for name, make in recipe.RECIPES.items():
        own, plain = make(), recipe.Recipe()
        changes = [
            f"`--{field.name.replace('_', '-')} {getattr(getattr(own, part), field.name)}`"
            for part, kind in recipe.PARTS.items()
            for field in dataclasses.fields(kind)
            if getattr(getattr(own, part), field.name) != getattr(getattr(plain, part), field.name)
        ]
        lines.append(f"| `{name}` | {(make.__doc__ or '').strip()} | {', '.join(changes) or 'nothing'} |")
    return "\n".join(lines)


def _plainly(value: Any) -> str:
    return "empty" if value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def _values(kind: Any) -> str:
    if isinstance(kind, UnionType) or get_origin(kind) is Union:
        return ", ".join(_values(choice) for choice in get_args(kind))
    if get_origin(kind) is not None:
        return ", ".join(str(choice) for choice in get_args(kind))
    return {int: "whole number", float: "number", str: "text"}.get(kind, kind.__name__)


# --- whole pages -------------------------------------------------------------------------------------------------------

PAPERS = {
    "lraspp_mobilenet_v3_large": "Howard et al. 2019, [1905.02244](https://arxiv.org/abs/1905.02244)",
    "lraspp_mobilenet_v3_small": "Howard et al. 2019, [1905.02244](https://arxiv.org/abs/1905.02244)",
    "UnetClassic": "Ronneberger et al. 2015, [1505.04597](https://arxiv.org/abs/1505.04597)",
    "UnetAttention": "Oktay et al. 2018, [1804.03999](https://arxiv.org/abs/1804.03999)",
    "Unet": "Ronneberger et al. 2015, [1505.04597](https://arxiv.org/abs/1505.04597)",
    "UnetPlusPlus": "Zhou et al. 2018, [1807.10165](https://arxiv.org/abs/1807.10165)",
    "MAnet": "Fan et al. 2020, [10.1109/ACCESS.2020.3025372](https://doi.org/10.1109/ACCESS.2020.3025372)",
    "Linknet": "Chaurasia and Culurciello 2017, [1707.03718](https://arxiv.org/abs/1707.03718)",
    "FPN": "Kirillov et al. 2019, [1901.02446](https://arxiv.org/abs/1901.02446)",
    "PSPNet": "Zhao et al. 2016, [1612.01105](https://arxiv.org/abs/1612.01105)",
    "DeepLabV3": "Chen et al. 2017, [1706.05587](https://arxiv.org/abs/1706.05587)",
    "DeepLabV3Plus": "Chen et al. 2018, [1802.02611](https://arxiv.org/abs/1802.02611)",
    "PAN": "Li et al. 2018, [1805.10180](https://arxiv.org/abs/1805.10180)",
    "UPerNet": "Xiao et al. 2018, [1807.10221](https://arxiv.org/abs/1807.10221)",
    "Segformer": "Xie et al. 2021, [2105.15203](https://arxiv.org/abs/2105.15203)",
    "DPT": "Ranftl et al. 2021, [2103.13413](https://arxiv.org/abs/2103.13413)",
}


MEASURED_HW = (480, 640)
"""Height and width of the picture that arithmetic is counted for."""


def gigaflops(network: Any, size_hw: tuple[int, int]) -> float:
    """Arithmetic for one picture in 10^9 operations, two for each multiply-add of convolutions, matrix products and attention."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.empty(1, 3, *size_hw, device="meta"))
    return float(counter.get_total_flops()) / 1e9


def valid_costs(side: int) -> float:
    """How many times the work a square picture is for the valid classic U-Net as for the padded one."""
    import torch

    catalogue, recipe = (importlib.import_module(f"segwright.{name}") for name in ("models.catalogue", "recipe"))
    with torch.device("meta"):
        padded, valid = (
            catalogue.build(recipe.ModelRecipe(model="UnetClassic", padding=padding), 1, load_weights=False)
            for padding in (1, 0)
        )
    return gigaflops(valid, (side, side)) / gigaflops(padded, (side, side))


def export_formats() -> list[str]:
    """What `segwright export --to` offers."""
    cli = importlib.import_module("segwright.cli")
    return [str(choice) for choice in get_args(get_type_hints(cli.export)["to"])]


def models_page() -> str:
    """docs/models.md: the catalogue, with parameters and arithmetic counted on the meta device, where nothing is computed."""
    import torch

    catalogue, unet, recipe = (
        importlib.import_module(f"segwright.{name}") for name in ("models.catalogue", "models.unet", "recipe")
    )
    formats = {"onnx": "ONNX", "openvino": "OpenVINO", "torch": "torch.export", "tensorrt": "TensorRT"}
    exported = ", ".join(formats.get(name, name) for name in export_formats())
    height, width = MEASURED_HW
    lines = [
        "# Models",
        "",
        "Written by `docs/make_pages.py`; do not edit. The same names: `segwright models`.",
        "",
        "Every network takes pictures of 0..1 and normalises them itself; it answers one channel for two classes and one",
        "channel for each class otherwise. Sides that the network cannot take are padded inside and cut back. Parameters",
        "are counted for two classes with the encoder of the table, without any weights being loaded.",
        "",
        f"GFLOPs are 10^9 operations for one picture of {height}x{width} (height x width), where one multiply-add is 2 operations:",
        "half of each number is what others call GMACs. Counted are convolutions, matrix products and attention, which is",
        "nearly all; norms, activations and resizing are not.",
        "",
        "| `--model` | `--encoder` | parameters | GFLOPs | exports to | paper |",
        "|---|---|---:|---:|---|---|",
    ]
    for name, builder in catalogue.BUILDERS.items():
        takes_encoder = "encoder" in catalogue.SETTINGS[builder]
        encoder = catalogue.DEFAULT_ENCODERS.get(name, catalogue.DEFAULT_ENCODER) if takes_encoder else ""
        with torch.device("meta"):
            network = catalogue.build(recipe.ModelRecipe(model=name, encoder=encoder), 1, load_weights=False)
        millions = sum(p.numel() for p in network.parameters()) / 1e6
        said = f"`{encoder}` (default)" if takes_encoder else "its own"
        flops = gigaflops(network, MEASURED_HW)
        lines.append(f"| `{name}` | {said} | {millions:.2f} M | {flops:.1f} | {exported} | {PAPERS[name]} |")
    lines += [
        "",
        "What `segwright export --to` can make is taken from the command, and the slow tests export every network of this table,",
        "for a fixed size and for any size, and compare its answers with PyTorch's.",
        "",
        "LR-ASPP is ours, on torchvision's MobileNetV3. `UnetClassic` and `UnetAttention` are ours too, as in their papers: the",
        "first hands its maps across as they are, the second weighs them by gates. `--padding 0` makes their convolutions valid:",
        f"no zeros are made up at borders; the network sees a mirrored border of {unet.CONTEXT} pixels and more instead, which makes it",
        f"{valid_costs(256):.1f} times the work at 256x256 and {valid_costs(1024):.1f} times at 1024x1024. `--no-batch-norm` and",
        "`--base-channels` change both further. The others are architectures of segmentation-models-pytorch, and take its encoders",
        "(`resnet18`, `efficientnet-b0`, `mit_b0`, ...) and, with the prefix `tu-`, those of timm.",
        "Not every encoder goes with every architecture; when one does not, the error says so before anything is trained.",
        "",
        "`--weights imagenet` downloads a pretrained backbone once. It has its own licence and was trained on pictures that",
        "have theirs; `--weights none`, the default, starts at random and downloads nothing. `--weights FILE` takes a",
        "checkpoint of ours or a state dict of a backbone, at least half of whose tensors must fit. `--load-model` takes a",
        "whole model, every tensor of which must fit: see [recipes](recipes.md#starting-from-weights).",
        "",
        "A batch norm that would see one value per channel cannot learn. With `--batch-size 1` that is so after global pooling",
        "(as in DeepLabV3 or PAN) and wherever a small picture has shrunk to one pixel; it is refused before anything is trained.",
    ]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """docs/commands.md: the help of every command, as the command line prints it."""
    cli = importlib.import_module("segwright.cli")
    from rich.console import Console

    def helped(*words: str) -> str:
        out = io.StringIO()
        console = Console(file=out, width=HELP_WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
        cli.build_app().help_print([*words], console=console)
        return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())

    lines = ["# Commands", "", "Written by `docs/make_pages.py` from `--help`; do not edit.", ""]
    codes = (cli.__doc__ or "").partition("Exit codes: ")[2].strip()
    lines += [f"Exit codes: {codes}".replace("\n", " "), ""]
    for words in ((), *((name,) for name in cli.COMMANDS), *(("synth", name) for name in cli.SYNTH)):
        lines += [f"## {' '.join(('segwright', *words))}", "", "```text", helped(*words), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


# --- writing -----------------------------------------------------------------------------------------------------------

PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"tree": tree},
    "docs/architecture.md": {"tree": tree},
    "docs/data.md": {"layouts": layouts, "findings": findings},
    "docs/recipes.md": {"named recipes": named_recipes, "settings": settings},
}
"""File -> marker -> what stands between the marker and its end."""

PAGES: dict[str, Callable[[], str]] = {"docs/commands.md": commands_page, "docs/models.md": models_page}


def filled(text: str, parts: dict[str, Callable[[], str]], name: str) -> str:
    """A page with its generated parts made anew."""
    for part, make in parts.items():
        before, found, rest = text.partition(marker(part))
        _, end, after = rest.partition(END)
        if not found or not end:
            raise SystemExit(f"{name} has no lines {marker(part)} and {END}; put them where the {part} should stand.")
        text = f"{before}{marker(part)}\n{make()}\n{END}{after}"
    return text


def made() -> Iterator[tuple[Path, str]]:
    """Every file that is generated wholly or in part, and what it should hold."""
    for name, parts in PARTS.items():
        yield ROOT / name, filled((ROOT / name).read_text(encoding="utf-8"), parts, name)
    for name, page in PAGES.items():
        yield ROOT / name, page()


def stale() -> list[str]:
    """Names of the files that are not what they should be."""
    return [
        path.relative_to(ROOT).as_posix()
        for path, text in made()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Write or check."""
    names = stale()
    if "--check" in sys.argv[1:]:
        print(f"Not fresh: {', '.join(names)}; run: make pages" if names else "All generated pages are fresh.")
        return 1 if names else 0
    for path, text in made():
        if path.relative_to(ROOT).as_posix() in names:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
