"""What Prometheus reads of a student besides its calls: slots, who waits for one, tokens, the model. Called by main."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Info

from stillhouse.student_inference.completion import Usage
from stillhouse.student_inference.engine import Engine


def measure(engine: Engine, model_sha256: str, registry: CollectorRegistry) -> None:
    """Registers them."""
    facts, admission = engine.facts, engine.admission
    Gauge("stillhouse_student_slots", "Requests that are answered at once", registry=registry).set(facts.slots)
    busy = Gauge("stillhouse_student_slots_busy", "Requests that are being answered", registry=registry)
    busy.set_function(lambda: admission.busy)
    waiting = Gauge("stillhouse_student_requests_waiting", "Requests that wait for a slot", registry=registry)
    waiting.set_function(lambda: admission.waiting)
    model = Info("stillhouse_student_model", "What is served, as stillhouse_student_model_info", registry=registry)
    model.info({"sha256": model_sha256, "model": facts.name, "quantization": facts.quantization})
    tokens = Counter(
        "stillhouse_student_tokens_total", "Tokens of answers that came to their end", ["kind"], registry=registry
    )

    for kind in ("prompt", "cached", "completion"):
        tokens.labels(kind)

    def count(usage: Usage) -> None:
        tokens.labels("prompt").inc(usage.prompt_tokens - usage.cached_tokens)
        tokens.labels("cached").inc(usage.cached_tokens)
        tokens.labels("completion").inc(usage.completion_tokens)

    engine.on_usage = count
