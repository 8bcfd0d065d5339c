"""Flags of a recipe, read from the recipe's own fields, and the recipe that flags make."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Parameter

from segwright import recipe


def field_sentences(kind: type[Any]) -> dict[str, str]:
    """The sentence under each field of a dataclass, read from its source."""
    body = typing.cast("ast.ClassDef", ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]).body
    sentences: dict[str, str] = {}
    for node, below in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(below, ast.Expr):
            sentences[node.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return sentences


def _number_or_word(_: Any, tokens: Any) -> float | str:
    """A flag such as --lr, which takes a number or auto; the recipe refuses other words in a sentence of its own."""
    said = str(tokens[0].value)
    try:
        return float(said)
    except ValueError:
        return said


def recipe_flags() -> type[Any]:
    """A dataclass with every setting of a recipe, all absent by default: what the user says overrides the recipe."""
    fields: list[Any] = []
    for part, kind in recipe.PARTS.items():
        sentences, types = field_sentences(kind), typing.get_type_hints(kind)
        for known in dataclasses.fields(kind):
            either = float in typing.get_args(types[known.name])
            # What a recipe switches on, such as turning cards, can be switched off; the rest is off until it is said.
            switched_on = any(getattr(getattr(make(), part), known.name) is True for make in recipe.RECIPES.values())
            parameter = Parameter(
                help=sentences[known.name].replace("`", ""),
                group=part.capitalize(),
                negative=f"--no-{known.name}" if switched_on else "",
                converter=_number_or_word if either else None,
            )
            annotated: Any = Annotated[types[known.name] | None, parameter]
            fields.append((known.name, annotated, dataclasses.field(default=None)))
    made = dataclasses.make_dataclass("Settings", fields, kw_only=True)
    # Generated classes claim to come from `types`, and cyclopts takes those for built-in values, not for flags.
    made.__module__ = __name__
    return made


if TYPE_CHECKING:
    Settings: TypeAlias = Any
else:
    Settings = recipe_flags()

Flags = Parameter(name="*")

NOTHING_SAID = Settings()


def given_in(settings: Any) -> dict[str, Any]:
    """What the user said of a recipe's settings, by name."""
    return {k: v for k, v in vars(settings).items() if v is not None}


def recipe_of(name: str, given: dict[str, Any]) -> recipe.Recipe:
    """A named recipe, or the one of a YAML file, with what the user said put over it.

    Raises:
        RecipeError: an unknown name, an unreadable file, or settings that contradict each other.
    """
    base = recipe.read_yaml(Path(name)) if name.endswith((".yaml", ".yml")) else recipe.named_recipe(name)
    return base.with_settings(**given) if given else base
