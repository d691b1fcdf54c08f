"""Score histograms by group, counted as rows stream by. Called by whoever reads rows of a report. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.report.facts import Histogram, HistogramGroup

_FINE = 100
_MAX_GROUPS = 40
_SHOWN_GROUPS = 6
_OTHERS = "others"
_STEPS = ((80, 1), (60, 2), (0, 5))
"""From which lowest score how many hundredths make a bin: ten to twenty bins."""
# A float such as 0.29 * 100 lies a hair below its edge.
_EDGE = 1e-9


class ScoreTally:
    """Counts scores in [0, 1] by group in hundredths: memory does not grow with the rows."""

    def __init__(self) -> None:
        """Empty."""
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def __len__(self) -> int:
        """How many scores were added."""
        return sum(sum(counts) for counts in self._counts.values())

    def add(self, group: str, score: float) -> None:
        """Takes a score in; groups beyond the fortieth are counted together."""
        name = group if group in self._counts or len(self._counts) < _MAX_GROUPS else _OTHERS
        counts = self._counts.setdefault(name, [0] * _FINE)
        counts[max(0, min(int(score * _FINE + _EDGE), _FINE - 1))] += 1
        self._sums[name] = self._sums.get(name, 0.0) + score

    def histogram(
        self, title: str, *, of: str, bound: float | None = None, order: Sequence[str] = ()
    ) -> Histogram | None:
        """Bins as fine as the range allows; groups in `order`, then the largest first. None without a score."""
        if not len(self):
            return None
        lowest = min(next(i for i, count in enumerate(counts) if count) for counts in self._counts.values())
        lower = lowest // 10 * 10
        step = next(step for least, step in _STEPS if lower >= least)
        groups = [
            HistogramGroup(
                name,
                sum(counts),
                score_sum / sum(counts),
                tuple(sum(counts[start : start + step]) for start in range(lower, _FINE, step)),
            )
            for name, counts, score_sum in self._shown(order)
        ]
        return Histogram(title, of, lower / _FINE, step / _FINE, tuple(groups), bound)

    def _shown(self, order: Sequence[str]) -> list[tuple[str, list[int], float]]:
        ranks = {name: rank for rank, name in enumerate(order)}
        named = [name for name in self._counts if name != _OTHERS]
        names = sorted(named, key=lambda name: (ranks.get(name, len(ranks)), -sum(self._counts[name]), name))
        shown = [(name, self._counts[name], self._sums[name]) for name in names[:_SHOWN_GROUPS]]
        rest = [name for name in self._counts if name not in names[:_SHOWN_GROUPS]]
        if rest:
            together = [sum(column) for column in zip(*(self._counts[name] for name in rest), strict=True)]
            shown.append((_OTHERS, together, sum(self._sums[name] for name in rest)))
        return shown
