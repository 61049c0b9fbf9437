"""``deploy/run-local`` once the project is installed: what ends it, and with which exit code."""

from __future__ import annotations

import signal
import sys
import time

from deploy.local import arguments


def main() -> int:
    """Run until Ctrl-C or TERM (exit code 0), or until something fails (exit code 1, the reason on stderr)."""
    began = time.monotonic()
    # Not an Event: a handler that interrupts the thread waiting for it can hang on the event's own lock.
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: signals.append(number))
    # Imported late: that takes a moment, in which Ctrl-C would otherwise end in a traceback.
    from deploy.local import instance, processes

    try:
        instance.run(arguments.parse(), lambda: bool(signals), began)
    except processes.StopRequestedError:
        return 0
    except instance.FAILURES as error:
        print(f"run-local: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
