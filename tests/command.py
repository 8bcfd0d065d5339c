"""Run the command line inside this process, and what a refusal must look like."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from segwright import cli


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str


def segwright(*arguments: object) -> Answer:
    """Run one command line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([str(a) for a in arguments])
        except SystemExit as end:
            assert isinstance(end.code, int), end.code
            return Answer(end.code, out.getvalue(), err.getvalue())
    raise AssertionError("main returned")


def succeeded(*arguments: object) -> str:
    """Run a command that must succeed; returns what it printed."""
    answer = segwright(*arguments)
    assert (answer.code, answer.err) == (0, ""), answer
    return answer.out


def refused(*arguments: object, code: int = 2) -> str:
    """Run a command that must be refused in one line; returns the line without its prefix."""
    answer = segwright(*arguments)
    assert answer.code == code, answer
    return one_sentence(answer.err)


def one_sentence(err: str) -> str:
    """The refusal on stderr, which is one line that begins with our name and ends as a sentence or a command does."""
    assert err.startswith("segwright: "), err
    assert err.count("\n") == 1, err
    assert err.endswith("\n"), err
    assert "Traceback" not in err, err
    assert len(err) < 700, err
    return err.removeprefix("segwright: ").rstrip("\n")


def everything_below(folder: Path) -> set[str]:
    """Every file and folder below one, to see that nothing was left behind."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def loaded_by(*command: str) -> set[str]:
    """Packages that are imported when a command has done its work."""
    code = (
        "import sys\nfrom segwright import cli\n"
        f"try:\n    cli.main({list(command)!r})\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    loaded = set(done.stdout.rpartition("LOADED ")[2].split())
    assert "segwright" in loaded
    return loaded
