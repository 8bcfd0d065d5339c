"""`quickstart`: the main job from end to end."""

from __future__ import annotations

from pathlib import Path

from segwright.commands.speaking import OK, console_of, fresh


def quickstart(*, data: Path | None = None, out: Path | None = None, minutes: float = 3.3, count: int = 1000) -> int:
    """Run the main job from end to end, on synthetic cards or your own pictures.

    Args:
        data: Your own folder with pictures and masks; default a synthetic card data set is drawn.
        out: New folder for everything; default quickstart, numbered.
        minutes: Of training.
        count: Synthetic pictures to draw.
    """
    from segwright.workflows.quickstart import quickstart as journey

    journey(data, out or fresh(Path("quickstart")), minutes=minutes, count=count, console=console_of())
    return OK
