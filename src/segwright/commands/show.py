"""`recipe`, `augmentation` and `models`: what can be chosen."""

from __future__ import annotations

import sys
from typing import Annotated

from segwright import recipe
from segwright.commands.settings import NOTHING_SAID, Flags, Settings, field_sentences, given_in, recipe_of
from segwright.commands.speaking import OK


def show_recipe(name: str = "multiclass", /, *, settings: Annotated[Settings, Flags] = NOTHING_SAID) -> int:
    """Print a recipe as YAML; save it, edit it, and give it to train --recipe FILE.

    Args:
        name: Name of a recipe (card, binary, multiclass, patches, person) or a YAML file.
        settings: Overrides.
    """
    sys.stdout.write(recipe.to_yaml(recipe_of(name, given_in(settings))))
    return OK


def show_augmentation(name: str = "medium", /) -> int:
    """Print how far training pictures are varied, as YAML; save it, edit it, and give it to train --augment FILE.

    Args:
        name: none, light, medium, strong, or a YAML file.
    """
    from segwright.data.augment import Variation, variation_of, variation_yaml

    variation = variation_of(recipe.Recipe().with_settings(augment=name))
    sys.stdout.write(variation_yaml(variation, field_sentences(Variation)))
    return OK


def models() -> int:
    """List the networks that can be trained."""
    from segwright.models.catalogue import BUILDERS

    sys.stdout.write("\n".join(BUILDERS) + "\n")
    return OK
