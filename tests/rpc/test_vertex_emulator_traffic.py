"""What calls meet on their way through the Vertex test server: quota, failures, stalls, latency."""

from __future__ import annotations

import asyncio

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1 import PredictionServiceAsyncClient
from google.rpc import error_details_pb2

from stillhouse.vertex_emulator.bill import Traffic
from stillhouse.vertex_emulator.desk import Conditions
from vertex_emulator_client import EXAMPLES, details, request, run, served, text_of


def test_faults_in_transport_change_no_answer() -> None:
    async def ask(client: PredictionServiceAsyncClient) -> str:
        while True:
            try:
                return text_of(await client.generate_content(request(), timeout=30))
            except (exceptions.ServiceUnavailable, exceptions.ResourceExhausted):
                await asyncio.sleep(0.05)

    async def work() -> None:
        async with served() as (_, client):
            undisturbed = await ask(client)
        rough = Conditions(unavailable=0.5, requests_per_minute=600, latency_seconds=0.01)
        async with served(rough) as (running, client):
            assert {await ask(client) for _ in range(20)} == {undisturbed}
            counts = running.bill.snapshot()
            assert counts["unavailable"] > 0
            assert counts["billed_calls"] == 20
            assert counts["requests"] == 20 + counts["unavailable"] + counts["throttled"]

    run(work())


def test_beyond_the_quota_it_says_when_to_come_back() -> None:
    async def work() -> None:
        async with served(Conditions(requests_per_minute=1)) as (running, client):
            await client.generate_content(request(), timeout=30)
            with pytest.raises(exceptions.ResourceExhausted, match="Quota exceeded for requests per minute") as caught:
                await client.generate_content(request(), timeout=30)
            assert 0 < details(caught.value, error_details_pb2.RetryInfo).retry_delay.ToSeconds() <= 60
            assert details(caught.value, error_details_pb2.ErrorInfo).reason == "RATE_LIMIT_EXCEEDED"
            counts = running.bill.snapshot()
            assert (counts["billed_calls"], counts["throttled"]) == (1, 1)

    run(work())


@pytest.mark.parametrize("conditions", [Conditions(stall=1.0), Conditions(latency_seconds=1000.0)])
def test_calls_wait_side_by_side_and_one_that_is_given_up_is_not_billed(conditions: Conditions) -> None:
    async def work() -> None:
        async with served(conditions) as (running, client):
            requests = [request(number % len(EXAMPLES), seed=number) for number in range(40)]
            calls = [asyncio.ensure_future(client.generate_content(each, timeout=60)) for each in requests]
            await _in_flight(running.bill.traffic, 40)
            for call in calls:
                call.cancel()
            await _in_flight(running.bill.traffic, 0)
            await asyncio.gather(*calls, return_exceptions=True)
            counts = running.bill.snapshot()
            assert counts["billed_calls"] == 0
            assert counts["stalled"] == 40 * conditions.stall

    run(work())


async def _in_flight(traffic: Traffic, calls: int) -> None:
    """Returns when so many are; `run` ends a wait in vain."""
    while traffic.in_flight != calls:
        await asyncio.sleep(0.01)
