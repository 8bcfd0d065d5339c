"""`check`, `synth cards` and `pack`: a data set before it is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from segwright import recipe
from segwright.commands.settings import recipe_of
from segwright.commands.speaking import NOT_GOOD_ENOUGH, OK, console_of


def check(
    data: Path,
    /,
    *,
    fix: Path | None = None,
    classes: Path | None = None,
    mask_suffix: str = "",
    json: Path | None = None,
) -> int:
    """Read every pair of a data set, say what is wrong and what would mend it.

    Args:
        data: Folder with pictures and masks.
        fix: Write a mended copy to this new folder; the original is never touched.
        classes: Class table (index,name,r,g,b,ignore) to use instead of the data's classes.csv.
        mask_suffix: What a mask's name has after its picture's stem, for example _mask.
        json: Also write the findings to this file.
    """
    import json as json_module

    from segwright.outputs import write_text
    from segwright.workflows import data as journeys

    console = console_of()
    found = journeys.check(data, classes_csv=classes, mask_suffix=mask_suffix, console=console)
    found.render(console)
    if json is not None:
        write_text(json, json_module.dumps(found.to_dict(), indent=1) + "\n")
    if fix is not None:
        journeys.repair(data, fix, classes_csv=classes, mask_suffix=mask_suffix, console=console)
        console.print(
            f"A mended copy lies in {fix}; what was changed is listed in {fix / 'repairs.csv'}.", soft_wrap=True
        )
        return OK
    return NOT_GOOD_ENOUGH if found.spoils else OK


def synth_cards(
    out: Path,
    /,
    *,
    count: int = 400,
    seed: int = 0,
    width: int = 480,
    height: int = 640,
    clutter: float = 1.0,
    backgrounds: Path | None = None,
    faces: Path | None = None,
    workers: int | None = None,
) -> int:
    """Draw a data set of card scenes with masks.

    Args:
        out: New folder for train, val and test.
        count: Number of pictures.
        seed: The same seed draws the same pictures.
        width: Of the pictures, pixels.
        height: Of the pictures, pixels.
        clutter: Share of busy scenes, 0..1; the others show playing cards alone on one evenly lit surface.
        backgrounds: Folder of your own pictures to lay cards on.
        faces: Folder of your own pictures of card faces.
        workers: Processes that draw; default one for each core.
    """
    from rich.console import Console

    from segwright.data.cards import synthesize_cards

    synthesize_cards(
        out,
        count=count,
        seed=seed,
        size_hw=(height, width),
        clutter=clutter,
        backgrounds=backgrounds,
        faces=faces,
        workers=workers,
        progress=Console(stderr=True).is_terminal,
    )
    console_of().print(
        f"{count} pictures lie in {out}; look at them, then: segwright train {out} --recipe card", soft_wrap=True
    )
    return OK


def pack(
    data: Path,
    out: Path,
    /,
    *,
    decoded: Annotated[bool, Parameter(negative="")] = False,
    recipe_name: Annotated[str, Parameter(name="--recipe")] = "multiclass",
    width: int | None = None,
    height: int | None = None,
    fit: recipe.Fit | None = None,
    shard_mb: int = 256,
    mask_suffix: str = "",
    classes: Path | None = None,
) -> int:
    """Write a data set as a few large tar files; train, check, evaluate and predict take them like a folder.

    Args:
        data: Folder with pictures and masks.
        out: New folder for the pack.
        decoded: Pack decoded pictures at the training size instead of the files: larger, faster to read, of that size only.
        recipe_name: With --decoded: the recipe (name or YAML file) whose size, fit, val_share and seed are used.
        width: With --decoded: width of the network's input; default the recipe's, else the commonest size.
        height: With --decoded: height of the network's input.
        fit: With --decoded: pad or stretch; default the recipe's.
        shard_mb: Megabytes in one tar file.
        mask_suffix: What a mask's name has after its picture's stem, for example _mask.
        classes: Class table to use instead of the data's classes.csv.
    """
    from segwright.workflows import data as journeys

    said = {"width": width, "height": height, "fit": fit, "mask_suffix": mask_suffix or None}
    given = {name: value for name, value in said.items() if value is not None}
    chosen = recipe_of(recipe_name, given)
    packed = journeys.pack(
        data, out, decoded=decoded, recipe=chosen, shard_mb=shard_mb, classes_csv=classes, console=console_of()
    )
    console_of().print(
        f"{packed.pictures} pictures lie in {packed.shards} shards of {out}, {packed.bytes / 1e6:.1f} MB. "
        f"Next: segwright train {out}",
        soft_wrap=True,
        highlight=False,
    )
    return OK
