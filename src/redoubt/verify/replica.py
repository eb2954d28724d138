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

    def __init__(self, lab: Lab, port: int, process: subprocess.Popen[bytes]) -> None:
        self._lab, self._port, self._process = lab, port, process
        self._clients: list[httpx.Client] = []

    def await_up(self) -> None:
        """Wait until it answers; raises Unshown when it does not."""
        visitor = self.same(self._lab.browser("visitor"))
        if not self._lab.wait(lambda: self._process.poll() is not None or _answers(visitor), _SECONDS, 0.1):
            raise Unshown("the second replica did not come up in time")
        if self._process.poll() is not None:
            raise Unshown("the second replica ended at its start")

    def same(self, browser: Browser) -> Browser:
        """Return a browser of the same person, from the same address, whose requests this replica answers."""
        transport = Transport(browser.source, self._lab.world.context, port=self._port)
        client = httpx.Client(transport=transport, follow_redirects=False, timeout=20.0, trust_env=False)
        self._clients.append(client)
        other = Browser(
            f"{browser.actor}, at the second replica", browser.source, browser.base_url, client,
            self._lab.world.masker, self._lab.trial.record, agent=browser.agent,
        )  # fmt: skip
        return browser.clone(other.actor, other)

    def close(self) -> None:
        """Close every connection to it, and stop it."""
        for client in self._clients:
            client.close()
        stop(self._process)


def second_replica(lab: Lab) -> Replica:
    """Start another replica and return it at once; raises Unshown where the target says of none."""
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
    return Replica(lab, port, process)


def _answers(visitor: Browser) -> bool:
    try:
        return visitor.get("/").status < 500
    except Unshown:
        return False
