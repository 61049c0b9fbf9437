"""How often each failpoint was armed and fired, by which action; which one comes next; what the report shows."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable


class Tally:
    """The failpoints of a run, which may last for several storms; may be used from many threads."""

    def __init__(self, names: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._armed: Counter[str] = Counter(dict.fromkeys(names, 0))
        self._fired: Counter[str] = Counter()
        self._actions: dict[str, Counter[str]] = {name: Counter() for name in self._armed}

    def arms(self, name: str) -> None:
        """Note that a failpoint was armed."""
        with self._lock:
            self._armed[name] += 1

    def fires(self, name: str, action: str) -> None:
        """Note that a failpoint was passed and did its action; the time of a sleep is left out."""
        with self._lock:
            self._fired[name] += 1
            self._actions[name][action.partition(" ")[0]] += 1

    def missing(self) -> list[str]:
        """Return the names that were never fired."""
        with self._lock:
            return [name for name in self._armed if not self._fired[name]]

    def choose(self, choice: random.Random) -> str:
        """Return the failpoint to arm next: one that was never fired, the least armed first; then any."""
        missing = self.missing()
        if not missing:
            return choice.choice(list(self._armed))
        with self._lock:
            least = min(self._armed[name] for name in missing)
            return choice.choice([name for name in missing if self._armed[name] == least])

    def summary(self) -> str:
        """Return how many failpoints were fired, and which were not."""
        missing = self.missing()
        text = f"{len(self._armed) - len(missing)} of {len(self._armed)} failpoints fired"
        return f"{text}, never {', '.join(missing)}" if missing else text

    def table(self) -> str:
        """Return a line for each failpoint: its name, how often it was armed and fired, and by which action."""
        with self._lock:
            width = max(map(len, self._armed), default=0)
            lines = [f"{'failpoint':{width}} armed fired actions"]
            for name, armed in self._armed.items():
                actions = ", ".join(f"{action} {count}" for action, count in sorted(self._actions[name].items()))
                lines.append(f"{name:{width}} {armed:5} {self._fired[name]:5} {actions or '-'}")
        return "\n".join(lines)
