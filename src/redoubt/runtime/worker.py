"""The worker's process: jobs, outgoing deliveries, the audit sequencer and whatever else outlives a request."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from redoubt.core.errors import RedoubtError
from redoubt.core.jobs import Jobs

from .app import Redoubt
from .loading import load_app
from .supervisor import PLACE

log = logging.getLogger("redoubt.worker")


async def work(guard: Redoubt, stop: asyncio.Event) -> None:
    """Run every background part of the app until `stop` is set; one part that ends with an error ends all."""
    jobs = Jobs(guard.core, place=os.environ.get(PLACE, ""))
    guard.register_jobs(jobs)
    await guard.start()
    marker = guard.settings.state_dir / "run" / "worker.ready"
    marker.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    marker.write_text(str(os.getpid()))
    tasks = [asyncio.create_task(jobs.run(stop), name="jobs")]
    tasks += [asyncio.create_task(loop(stop), name=name) for name, loop in guard.background().items()]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await guard.stop()


async def _main(directory: Path) -> None:
    _, guard = load_app(directory)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await work(guard, stop)


def main() -> None:
    """Parse the command line and work; a known error is one line on stderr and exit 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True)
    options = parser.parse_args()
    try:
        asyncio.run(_main(options.dir))
    except RedoubtError as error:
        print(f"redoubt: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
