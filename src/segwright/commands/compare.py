"""`compare`: models beside each other, on the same pictures."""

from __future__ import annotations

from pathlib import Path

from segwright.commands.speaking import OK, console_of


def compare(*models: Path, json: Path | None = None) -> int:
    """Compare models that were measured on the same pictures, each with the first; says which differences are certain.

    Args:
        models: Reports of evaluate, or the run folders that hold them; the first is what the others are compared with.
        json: Also write the comparison to this file.
    """
    import json as json_module

    from segwright.outputs import write_text
    from segwright.workflows import comparing

    compared = comparing.compare(models)
    comparing.render(compared, console_of())
    if json is not None:
        write_text(json, json_module.dumps(comparing.to_dict(compared), indent=1, allow_nan=False) + "\n")
    return OK
