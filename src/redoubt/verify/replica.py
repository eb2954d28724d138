"""A second replica of the app: started by the target file's command over the same state, asked under the same name."""

from __future__ import annotations

import subprocess

import httpx

from .browser import Browser
from .errors import Unshown
from .lab import Lab
from .launch import child_environment, command_line, fill, free_port, stop
from .transport import Transport

_SECONDS = 60.0


class Replica:
    """A second replica that is starting or up; who has a session has it here, too."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self._port, self._process = port, process
        self._clients: list[httpx.Client] = []

    def await_up(self, lab: Lab) -> None:
        """Wait until it answers; raises Unshown when it does not."""
        visitor = self.same(lab, lab.browser("visitor"))
        if not lab.wait(lambda: self._process.poll() is not None or _answers(visitor), _SECONDS, 0.1):
            raise Unshown("the second replica did not come up in time")
        if self._process.poll() is not None:
            raise Unshown("the second replica ended at its start")

    def same(self, lab: Lab, browser: Browser) -> Browser:
        """Return a browser of the same person, from the same address, whose requests this replica answers."""
        transport = Transport(browser.source, lab.world.context, port=self._port)
        client = httpx.Client(transport=transport, follow_redirects=False, timeout=20.0, trust_env=False)
        self._clients.append(client)
        other = Browser(
            f"{browser.actor}, at the second replica", browser.source, browser.base_url, client,
            lab.world.masker, lab.trial.record, agent=browser.agent,
        )  # fmt: skip
        return browser.clone(other.actor, other)

    def close(self) -> None:
        """Close every connection to it, and stop it."""
        for client in self._clients:
            client.close()
        stop(self._process)


def second_replica(lab: Lab) -> Replica:
    """Return the run's second replica, started at the first call, perhaps still coming up.

    Raises Unshown where the target says of none.
    """
    known = lab.world.notes.get("replica")
    if isinstance(known, Replica):
        return known
    how, running = lab.target.replica, lab.world.running
    if how is None or running is None:
        raise Unshown(
            "how a second replica is started is not said",
            add="replica: {command: [serve], env: {PORT: '{replica_port}'}}",
        )
    port = free_port()
    variables = {**lab.world.variables, "replica_port": str(port)}
    environment = {**lab.world.secrets, **{name: fill(value, variables) for name, value in how.env.items()}}
    with running.log.open("ab") as out:
        process = subprocess.Popen(
            command_line(how.command, variables), cwd=running.folder, env=child_environment(environment, []),
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    replica = lab.world.notes["replica"] = Replica(port, process)
    lab.world.at_close(replica.close)
    return replica


def _answers(visitor: Browser) -> bool:
    try:
        return visitor.get("/").status < 500
    except Unshown:
        return False
