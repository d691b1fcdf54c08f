"""What the Vertex test server answers Vertex AI's own client."""

from __future__ import annotations

import asyncio

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1.types import Candidate, GenerateContentRequest, GenerateContentResponse

from vertex_emulator_client import EXAMPLES, ROLE, request, run, served, text_of


def test_a_concept_is_answered_well_and_paid_for() -> None:
    async def work() -> None:
        async with served() as (running, client):
            response = await client.generate_content(request(), timeout=30)
            outputs = ROLE.parse(text_of(response)).outputs
            assert ROLE.problems(outputs) == []
            assert ROLE.score(EXAMPLES[0].inputs, outputs).score >= 0.8
            assert response.candidates[0].finish_reason == Candidate.FinishReason.STOP
            assert response.model_version == "gemini-2.5-flash"
            usage = response.usage_metadata
            assert usage.prompt_token_count > 500
            assert usage.thoughts_token_count > 0
            counts = running.bill.snapshot()
            assert (counts["billed_calls"], counts["in_flight"]) == (1, 0)
            assert counts["output_tokens"] == usage.candidates_token_count + usage.thoughts_token_count
            assert counts["cost_usd"] > 0

    run(work())


def test_a_stream_is_the_same_answer_in_pieces_and_is_billed_once() -> None:
    async def work() -> None:
        async with served() as (running, client):
            whole = await client.generate_content(request(), timeout=30)
            stream = await client.stream_generate_content(request(), timeout=30)
            pieces = [piece async for piece in stream]
            assert len(pieces) > 3
            assert "".join(map(text_of, pieces)) == text_of(whole)
            assert pieces[-1].usage_metadata == whole.usage_metadata
            assert pieces[-1].candidates[0].finish_reason == Candidate.FinishReason.STOP
            assert running.bill.snapshot()["billed_calls"] == 2

    run(work())


def test_a_restart_changes_no_answer() -> None:
    async def answers() -> list[bytes]:
        async with served(recorded_faults=True, seed=5) as (_, client):
            requests = [request(number) for number in range(len(EXAMPLES))]
            responses = await asyncio.gather(*(client.generate_content(each, timeout=30) for each in requests))
            return [GenerateContentResponse.serialize(each) for each in responses]

    async def work() -> None:
        first = await answers()
        assert await answers() == first
        assert len(set(first)) == len(first)

    run(work())


def test_a_wrong_request_is_named_as_vertex_names_it() -> None:
    async def work() -> None:
        async with served() as (_, client):
            with pytest.raises(exceptions.NotFound, match="llama-9"):
                await client.generate_content(request(model="llama-9"), timeout=30)
            nameless = GenerateContentRequest(model="x", contents=request().contents)
            with pytest.raises(exceptions.InvalidArgument, match="Invalid resource name"):
                await client.generate_content(nameless, timeout=30)
            with pytest.raises(exceptions.MethodNotImplemented):
                await client.predict(endpoint="projects/p/locations/l/endpoints/1", instances=[], timeout=30)

    run(work())
