"""`demo`: a model live in a web page, as a folder that any web server can hand out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from segwright.commands.speaking import NOT_GOOD_ENOUGH, OK, console_of, fail
from segwright.errors import UserError


def demo(
    model: Path | None = None,
    /,
    *,
    out: Path | None = None,
    serve: Annotated[bool, Parameter(negative="")] = False,
    space: Annotated[bool, Parameter(negative="")] = False,
    check: Path | None = None,
    title: str = "",
    licence: str = "",
    runtime: Path | None = None,
    data: Path | None = None,
    pictures: int = 64,
    classes: Path | None = None,
    port: int = 8000,
    host: str = "127.0.0.1",
) -> int:
    """Put a model into a web page that runs it in the visitor's browser.

    Args:
        model: Run folder, checkpoint, exported .onnx file, or with --serve a finished demo.
        out: Folder to write; default demos/NAME. An older demo there is replaced.
        serve: Serve the page on this machine until Ctrl-C.
        space: Add what a Hugging Face Space needs.
        check: Look for what is wrong with a finished demo, and do nothing else.
        title: At the top of the page; default made of the model's name.
        licence: Of the model; default what it says of itself.
        runtime: Folder with the files of ONNX Runtime Web; default npm brings them, once.
        data: Pictures for the proof of a run's exports; default the data the run was trained on.
        pictures: Compare this many at most.
        classes: Class table to use instead of the data's classes.csv.
        port: To serve on; 0 takes a free one.
        host: To serve on; any other than this machine's own lets others in.
    """
    if check is not None:
        if model is not None:
            raise UserError(
                f"--check looks at {check} and builds nothing; leave {model} out, or build it without --check."
            )
        return _check(check)
    if model is None:
        raise UserError(
            "Which model? Name a run folder, a checkpoint or an .onnx file, or a finished demo with --check."
        )
    from segwright.workflows import showing

    console = console_of()
    if serve and showing.is_demo(model):
        folder = model
    else:
        folder = out or Path("demos") / showing.name_of(model)
        models = showing.build_demo(
            model,
            folder,
            data=data,
            classes_csv=classes,
            limit=pictures,
            runtime=runtime,
            title=title,
            licence=licence,
            space=space,
            console=console,
        )
        height, width = models.facts.size_hw
        sizes = " and ".join(
            f"{name.upper()} ({len(models.files[name]) / 1e6:.1f} MB)" for name in sorted(models.files)
        )
        said = [f"The page runs {models.facts.name} at {width}x{height} in {sizes}."]
        if models.without_fp16:
            said.append(f"There is no FP16 file: {models.without_fp16}")
        said.append(f"The demo lies in {folder}")
        if space:
            name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name)
            said.append(f"Push it with: hf upload YOUR_NAME/{name} {shlex.quote(str(folder))} . --repo-type space")
        if not serve:
            said.append(f"Look at it with: segwright demo {shlex.quote(str(folder))} --serve")
        for line in said:
            console.print(line, soft_wrap=True, highlight=False)
    if serve:
        showing.serve_demo(
            folder,
            host=host,
            port=port,
            tell=lambda address: console.print(
                f"Serving {folder} at {address} until Ctrl-C", soft_wrap=True, highlight=False
            ),
        )
    return OK


def _check(folder: Path) -> int:
    """Say what is wrong with a finished demo."""
    from segwright.workflows import showing

    console = console_of()
    findings = showing.check_demo(folder)
    for finding in findings:
        console.print(
            f"{'wrong' if finding.spoils else 'note'}: {finding.sentence}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
    wrong = sum(finding.spoils for finding in findings)
    if wrong:
        fail(f"{wrong} thing{'s' if wrong > 1 else ''} would spoil {folder}; see above.", NOT_GOOD_ENOUGH)
    console.print(f"{folder} is whole: every file is there and as it was made.", soft_wrap=True, highlight=False)
    return OK
