"""A call of a teacher as a span: which model, how many tokens, how it ended; nothing of what was said.

Called by `paid`. Names are OpenTelemetry's for generative models.
"""

from __future__ import annotations

from stillhouse.rpc.tracing import span
from stillhouse.teachers.teacher import Answer, Question, Teacher


async def traced_ask(teacher: Teacher, question: Question, *, deadline_seconds: float) -> Answer:
    """See Teacher.ask."""
    provider, _, model = teacher.identity.partition(":")
    names = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": provider, "gen_ai.request.model": model}
    with span(f"chat {model}", kind="client", attributes=names) as call:
        answer = await teacher.ask(question, deadline_seconds=deadline_seconds)
        call.set(
            {
                "gen_ai.usage.input_tokens": answer.prompt_tokens,
                "gen_ai.usage.output_tokens": answer.completion_tokens + answer.thinking_tokens,
                "stillhouse.finish_reason": str(answer.finish_reason),
            }
        )
        return answer
