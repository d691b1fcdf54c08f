"""Money that may be spent: a hard limit, with what is in flight counted at its maximum.

Called by `paid`, on one event loop. It must not know prices, models or questions.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

from stillhouse.errors import FailedPrecondition, InvalidArgument

_ROUNDING_USD = 1e-9
"""What sums of floating point numbers may be off by."""


class Budget:
    """What was spent, what calls in flight may still cost, and a limit on both together."""

    def __init__(self, max_cost_usd: float | None) -> None:
        """None is no limit; 0 lets no paid call start. Raises InvalidArgument for a negative limit or a NaN."""
        if max_cost_usd is not None and not (math.isfinite(max_cost_usd) and max_cost_usd >= 0):
            raise InvalidArgument(
                f"budget.maxCostUsd is {max_cost_usd}; give dollars, 0 or more, or leave it out for no limit",
                field="budget.maxCostUsd",
            )
        self._limit = max_cost_usd
        self._spent = 0.0
        self._reserved: dict[Reservation, float] = {}
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def limit_usd(self) -> float | None:
        """The limit; None where there is none."""
        return self._limit

    @property
    def spent_usd(self) -> float:
        """What all settled calls cost, and answers found in the log."""
        return self._spent

    @property
    def reserved_usd(self) -> float:
        """What calls in flight cost at most."""
        return sum(self._reserved.values())

    async def reserve(self, maximum_usd: float) -> Reservation:
        """Sets aside what one call costs at most; waits where calls in flight may still leave enough of the limit.

        A call that costs nothing passes no limit. Raises FailedPrecondition, naming what was spent, the limit and the
        remedy, where the call can't be afforded whatever the others cost.
        """
        while maximum_usd > 0 and not self._fits(maximum_usd + self.reserved_usd):
            if not self._reserved or not self._fits(maximum_usd):
                raise self._exhausted(maximum_usd)
            settled = asyncio.get_running_loop().create_future()
            self._waiting.append(settled)
            await settled
        reservation = Reservation(self)
        self._reserved[reservation] = maximum_usd
        return reservation

    def spend(self, cost_usd: float) -> None:
        """Counts what an answer cost that is in the log already. It is never refused: it was paid."""
        self._spent += cost_usd
        self._wake()

    def _fits(self, more_usd: float) -> bool:
        return self._limit is None or self._spent + more_usd <= self._limit + _ROUNDING_USD

    def _settle(self, reservation: Reservation, cost_usd: float) -> None:
        if self._reserved.pop(reservation, None) is not None:
            self._spent += cost_usd
            self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for settled in waiting:
            if not settled.done():
                settled.set_result(None)

    def _exhausted(self, maximum_usd: float) -> FailedPrecondition:
        return FailedPrecondition(
            f"the budget does not allow another call: ${self._spent:.4f} of ${self._limit:.4f} is spent and one more "
            f"call may cost ${maximum_usd:.4f}; raise budget.maxCostUsd (--max-cost-usd), answers so far are kept",
            field="budget.maxCostUsd",
        )


class Reservation:
    """Money set aside for one call, until it is settled. Leaving its context unsettled settles it at nothing."""

    def __init__(self, budget: Budget) -> None:
        """Made by the budget."""
        self._budget = budget

    def settle(self, cost_usd: float) -> None:
        """The call is over and cost this much; settling again changes nothing."""
        self._budget._settle(self, cost_usd)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.settle(0.0)
