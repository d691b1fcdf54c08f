from __future__ import annotations

import pytest

from stillhouse.errors import InvalidArgument
from stillhouse.spec.presets import PRESETS, resolve


def test_without_a_preset_the_defaults_hold() -> None:
    recipe = resolve(None, {})

    assert (recipe.rank, recipe.alpha, recipe.target_modules) == (32, 64, ("q_proj", "v_proj"))
    assert (recipe.learning_rate, recipe.epochs, recipe.batch_size, recipe.schedule) == (2e-4, 3, 4, "cosine")


def test_a_flag_beats_the_preset_and_the_preset_beats_the_default() -> None:
    recipe = resolve("cpu-135m", {"epochs": 5, "rank": None})

    assert recipe.epochs == 5
    assert (recipe.rank, recipe.target_modules, recipe.learning_rate) == (32, ("all-linear",), 6e-4)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match="cpu-135m, t4-7b, l4-7b, a100-7b"):
        resolve("h100", {})


@pytest.mark.parametrize("name", ["t4-7b", "l4-7b", "a100-7b"])
def test_presets_for_7b_models_checkpoint_gradients(name: str) -> None:
    assert PRESETS[name].gradient_checkpointing
