"""The command line clients people use, run as people run them: at a terminal, with a clean environment."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from tests.support import environments

_NOTHING: Mapping[str, str] = MappingProxyType({})


class ClientError(AssertionError):
    """A command ended with an exit code other than 0; the text holds its output."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command printed and its exit code."""

    command: str
    code: int
    output: str
    errors: str

    def check(self) -> Result:
        """Return this result; raise ClientError when the command failed."""
        if self.code:
            raise ClientError(f"{self.command}: exit code {self.code}\n{self.output}{self.errors}")
        return self

    def json(self) -> Any:
        """Return the parsed output of a successful ``openstack … -f json``."""
        return json.loads(self.check().output)


class Clients:
    """``openstack``, ``glance`` and Python with openstacksdk, from a virtual environment of their own.

    ``home`` is the clients' home folder. It keeps the caches of one test run from the next, and the developer's own
    ``clouds.yaml`` from both. ``kind`` names the environment: today's clients, or an old ``glance``.
    """

    def __init__(self, home: Path, kind: str = environments.CLIENTS) -> None:
        self.home = home
        self.programs = environments.environment(kind) / "bin"

    def openstack(self, *arguments: object, env: Mapping[str, str] = _NOTHING, **how: Any) -> Result:
        """Run ``openstack``; ``env`` holds the ``OS_*`` variables."""
        return self.run("openstack", *arguments, env=env, **how)

    def glance(self, *arguments: object, env: Mapping[str, str] = _NOTHING, **how: Any) -> Result:
        """Run ``glance``; for a service without Keystone see ``glance_address``."""
        return self.run("glance", *arguments, env=env, **how)

    def sdk(self, script: str, *arguments: object, env: Mapping[str, str] = _NOTHING, **how: Any) -> Result:
        """Run a Python script that may ``import openstack``."""
        return self.run("python", "-W", "ignore", "-c", script, *arguments, env=env, **how)

    def run(
        self,
        program: str,
        *arguments: object,
        env: Mapping[str, str] = _NOTHING,
        stdin: int | IO[bytes] | None = None,
        seconds: float = 300,
    ) -> Result:
        """Run a program of the environment and return what it printed.

        Without ``stdin`` its input is a silent terminal: from an empty input that is no terminal both clients upload an
        image of zero bytes. Raises TimeoutExpired after ``seconds``.
        """
        command = [str(self.programs / program), *map(str, arguments)]
        with _idle_terminal() as terminal:
            done = subprocess.run(
                command,
                stdin=terminal if stdin is None else stdin,
                capture_output=True,
                env={**self._environment(), **env},
                cwd=self.home,
                timeout=seconds,
                check=False,
            )
        output, errors = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        return Result(" ".join([program, *command[1:]]), done.returncode, output, errors)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "COLUMNS": "200",  # tables are not wrapped
            "PYTHONWARNINGS": "ignore",
        }


def openstack_address(url: str) -> dict[str, str]:
    """Return the variables with which ``openstack`` talks to an image service that has no Keystone."""
    return {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": url}


def glance_address(url: str) -> tuple[str, ...]:
    """Return the options with which ``glance`` talks to an image service that has no Keystone.

    Its ``--os-auth-type none`` fails before the first request; any token will do instead.
    """
    return ("--os-auth-token", "x", "--os-image-url", url)


@contextmanager
def _idle_terminal() -> Iterator[int]:
    keyboard, terminal = pty.openpty()
    try:
        yield terminal
    finally:
        os.close(terminal)
        os.close(keyboard)


class Recorder:
    """Runs commands of one client and remembers which ones."""

    def __init__(self, run: Callable[..., Result], env: dict[str, str]) -> None:
        self._run = run
        self._env = env
        self.seen: set[str] = set()

    def __call__(self, command: str, *arguments: object, env: dict[str, str] | None = None) -> Result:
        """Run one command, whose name may have several words; it must succeed."""
        self.seen.add(command)
        return self._run(*command.split(), *arguments, env=env or self._env).check()

    def json(self, command: str, *arguments: object) -> Any:
        """Run one command that prints JSON."""
        return self(command, *arguments, "-f", "json").json()
