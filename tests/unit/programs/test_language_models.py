"""Of a predictor's own language model its settings are kept, and no secret, address or header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy
import pytest

from program_cases import PROBES
from stillhouse.errors import InvalidArgument
from stillhouse.programs.document import program_bytes
from stillhouse.programs.dspy_programs import capture, restore
from stillhouse.programs.program import Program
from stillhouse.programs.public_settings import public_settings

SECRET = "s3cr3t-value"
SAMPLING = {"temperature": 0.7, "max_tokens": 900, "top_p": 0.9, "stop": ["\n\n"]}


def predictor_with(**settings: Any) -> dspy.Predict:
    predictor = dspy.Predict("question -> answer")
    predictor.lm = dspy.LM("openai/some-model", **settings)
    return predictor


def kept(module: dspy.Module) -> Program:
    return capture(module, role="quiz", role_version=3, probes=PROBES)


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": SECRET},
        {"api_base": f"https://{SECRET}.example"},
        {"base_url": f"https://{SECRET}.example"},
        {"headers": {"X": SECRET}},
        {"extra_headers": {"Authorization": f"Bearer {SECRET}"}},
        {"azure_ad_token_provider": SECRET},
        {"aws_session_token": SECRET},
        {"aws_secret_access_key": SECRET},
        {"vertex_credentials": SECRET},
        {"password": SECRET},
        {"extra_body": {"deeper": [{"API_Key": SECRET}]}},
        {"extra_body": {"deeper": [f"https://user:{SECRET}@host"]}},
        {"note": f"Bearer {SECRET}"},
    ],
)
def test_no_secret_is_written_and_sampling_is(settings: dict[str, Any]) -> None:
    program = kept(predictor_with(**SAMPLING, **settings))
    lm = program.predictors["self"].lm
    assert SECRET not in program_bytes(program).decode()
    assert lm is not None
    assert lm["model"] == "openai/some-model"
    assert SAMPLING.items() <= lm.items()


def test_secrets_of_a_predictors_own_config_stay_with_the_module() -> None:
    def build(key: str) -> dspy.Predict:
        return dspy.Predict("question -> answer", temperature=0.3, api_key=key)

    program = kept(build(SECRET))
    assert SECRET not in program_bytes(program).decode()
    assert restore(program, build("mine")).config == {"temperature": 0.3, "api_key": "mine"}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens"])
def test_counts_of_tokens_are_no_secrets(name: str) -> None:
    assert public_settings({name: 5}) == {name: 5}


@pytest.mark.parametrize("name", ["token", "auth_token", "tokens", "max_token_key", "Token_File"])
def test_tokens_are(name: str) -> None:
    assert public_settings({name: "x"}) == {}


def test_a_setting_that_is_no_json_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match="predictor self can't be kept: setting reasoning: a object is no JSON"):
        kept(predictor_with(reasoning=object()))


def test_a_restored_program_takes_the_configured_model() -> None:
    assert restore(kept(predictor_with(**SAMPLING)), dspy.Predict("question -> answer")).lm is None


def test_a_maker_of_models_gets_the_settings_of_each_predictor_that_had_its_own() -> None:
    def make(settings: Mapping[str, Any]) -> dspy.LM:
        return dspy.LM(**settings, api_key="mine")

    restored = restore(
        kept(predictor_with(**SAMPLING, api_key=SECRET)),
        dspy.Predict("question -> answer"),
        make_lm=make,
    )
    assert restored.lm.model == "openai/some-model"
    assert {**SAMPLING, "api_key": "mine"}.items() <= restored.lm.kwargs.items()


def test_the_prompts_do_not_hang_on_the_model() -> None:
    without = kept(dspy.Predict("question -> answer")).predictors["self"].prompts_sha256
    assert kept(predictor_with(**SAMPLING)).predictors["self"].prompts_sha256 == without
