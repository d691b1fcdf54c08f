from __future__ import annotations

import numpy as np
import pytest

from stillhouse.errors import FailedPrecondition
from stillhouse.exporter.gates import Divergence, Parity, kl_divergence, require_divergence, require_parity

P = np.log(np.array([0.5, 0.25, 0.125, 0.125], dtype=np.float32))
Q = np.log(np.array([0.25, 0.25, 0.25, 0.25], dtype=np.float32))


def test_equal_distributions_have_no_divergence() -> None:
    assert kl_divergence(P, np.arange(4), P) == pytest.approx(0.0, abs=1e-7)


def test_the_divergence_is_exact_where_every_token_is_listed() -> None:
    order = np.array([2, 0, 3, 1])
    expected = float(np.sum(np.exp(P) * (P - Q)))
    assert kl_divergence(P, order, Q[order]) == pytest.approx(expected, rel=1e-6)


def test_unlisted_tokens_count_as_one_outcome() -> None:
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert kl_divergence(P, np.array([0]), Q[:1]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("listed", [3, 4])
def test_a_constant_error_of_the_softmax_hardly_counts(listed: int) -> None:
    p = np.log(np.array([0.7, 0.2, 0.0995, 0.0005]))
    assert kl_divergence(p, np.arange(listed), p[:listed] + 2e-4) < 3e-5


def test_mass_that_the_file_misses_altogether_is_seen() -> None:
    certain = np.log(np.array([1.0 - 1e-9], dtype=np.float64))
    assert kl_divergence(P, np.array([3]), certain) > 1


def test_a_divergence_within_the_limit_passes() -> None:
    require_divergence("model", Divergence(mean=1e-4, largest=1.0, positions=48), limit=1e-4)


@pytest.mark.parametrize("mean", [2e-3, float("nan"), float("inf")])
def test_a_divergence_above_the_limit_or_without_a_number_fails_with_the_figures(mean: float) -> None:
    with pytest.raises(FailedPrecondition, match=r"over 48 answer positions, allowed 0\.001"):
        require_divergence("model", Divergence(mean=mean, largest=mean, positions=48), limit=1e-3)


def test_rare_differences_in_foreign_texts_pass() -> None:
    require_parity(Parity(probes=400, rendered=32, mismatches=("ﬁ",), rendered_mismatches=0))


def test_one_difference_in_the_roles_own_texts_fails() -> None:
    with pytest.raises(FailedPrecondition, match="1 of 400 texts"):
        require_parity(Parity(probes=400, rendered=32, mismatches=("a prompt",), rendered_mismatches=1))


def test_many_differences_in_foreign_texts_fail() -> None:
    with pytest.raises(FailedPrecondition, match="330 of 424 texts"):
        require_parity(Parity(probes=424, rendered=0, mismatches=tuple("1" * 330), rendered_mismatches=0))
