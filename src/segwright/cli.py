"""One table of commands, and what their errors become: one sentence and an exit code.

Exit codes: 0 all is well; 1 the work was done and its result is not good enough (data that would spoil training, an
export that differs); 2 something the user can mend, said in one sentence.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from cyclopts import App, CycloptsError

from segwright import __version__
from segwright.commands.bench import bench
from segwright.commands.compare import compare
from segwright.commands.data import check, pack, synth_cards
from segwright.commands.demo import demo
from segwright.commands.evaluate import evaluate
from segwright.commands.export import export
from segwright.commands.predict import predict
from segwright.commands.prune import prune
from segwright.commands.quickstart import quickstart
from segwright.commands.show import models, show_augmentation, show_recipe
from segwright.commands.speaking import NOT_GOOD_ENOUGH, OK, USER_ERROR, fail
from segwright.commands.train import replay, train
from segwright.commands.tune import tune
from segwright.errors import GateError, SegwrightError, UserError

COMMANDS: dict[str, Callable[..., int]] = {
    "quickstart": quickstart,
    "check": check,
    "pack": pack,
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "tune": tune,
    "predict": predict,
    "prune": prune,
    "export": export,
    "demo": demo,
    "bench": bench,
    "replay": replay,
    "recipe": show_recipe,
    "augmentation": show_augmentation,
    "models": models,
}

SYNTH: dict[str, Callable[..., int]] = {"cards": synth_cards}


def build_app() -> App:
    """The command line, made from the tables above."""
    app = App(
        name="segwright",
        version=__version__,
        help="From a folder of pictures to a small, fast, proven segmentation model.",
        help_format="plaintext",  # importing the Markdown renderer would add 0.1 s to every --help
        suppress_keyboard_interrupt=False,
    )
    for name, function in COMMANDS.items():
        app.command(function, name=name)
    synth = App(name="synth", help="Draw synthetic data sets.")
    for name, function in SYNTH.items():
        synth.command(function, name=name)
    app.command(synth)
    return app


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit with its code."""
    app = build_app()
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        fail(str(error), USER_ERROR)
    except UserError as error:
        fail(error, USER_ERROR)
    except GateError as error:
        fail(error, NOT_GOOD_ENOUGH)
    except SegwrightError as error:
        fail(error, NOT_GOOD_ENOUGH)
    except KeyboardInterrupt:
        fail("Stopped by Ctrl-C; what was finished is whole, nothing was left half-written.", USER_ERROR)
    except BrokenPipeError:
        # The reader of our output went away (`segwright models | head`); there is nobody left to tell.
        sys.stderr.close()
        sys.exit(OK)
    sys.exit(code if isinstance(code, int) else OK)


if __name__ == "__main__":
    main()
