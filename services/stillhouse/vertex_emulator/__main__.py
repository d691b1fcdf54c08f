"""`python -m stillhouse.vertex_emulator [flags]`: prints its address, then serves until it is asked to stop.

Started by `stillhouse vertex-emulator`, by demos, tests and benchmarks. The one place that reads flags and environment.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

import structlog

from stillhouse.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USAGE, InvalidArgument, StillhouseError
from stillhouse.rpc.logs import configure_logging
from stillhouse.rpc.process import StopRequest, stop_on_signals, watch_runner
from stillhouse.vertex_emulator.config import EmulatorConfig


def main(arguments: Sequence[str]) -> int:
    """Serves; the exit code is 0, 130 after SIGINT, or that of the table in `stillhouse.errors`."""
    configure_logging("vertex_emulator")
    try:
        config = EmulatorConfig.from_arguments(arguments, os.environ)
        with stop_on_signals() as stop:
            watch_runner(stop, os.environ)
            asyncio.run(_serve(config, stop))
    except StillhouseError as exc:
        log = structlog.get_logger("stillhouse.vertex_emulator")
        log.error("can't serve", error=type(exc).__name__, message=exc.message)
        return EXIT_USAGE if isinstance(exc, InvalidArgument) else exc.exit_code
    return EXIT_INTERRUPTED if stop.interrupted else EXIT_DONE


async def _serve(config: EmulatorConfig, stop: StopRequest) -> None:
    # Google's types take seconds to import: flags that are wrong must not wait for them.
    from stillhouse.vertex_emulator.server import emulator

    async with emulator(config) as running:
        lines = [running.url, *([f"openai {running.openai_url}"] if running.openai_url else [])]
        # One write: whoever reads the first line may close the pipe at once.
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(stop.event.wait)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
