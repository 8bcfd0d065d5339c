"""A belt between two threads: what one lays on it the other takes off in the same order; full, it makes the first one wait."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Belt(Generic[T]):
    """A bounded queue that can be ended from both sides.

    Args:
        places: things that fit on it.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._things: deque[T] = deque()
        self._changed = threading.Condition()
        self._finished = self._stopped = False
        self._error: BaseException | None = None

    def has_room(self) -> bool:
        """Wait until something fits on it.

        Returns:
            False when nobody will take it any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._things) < self._places)
            return not self._stopped

    def put(self, thing: T) -> bool:
        """Lay something on it, waiting for room.

        Returns:
            False when nobody will take it any more.
        """
        with self._changed:
            # Waiting in slices, because on Windows Ctrl-C does not interrupt an endless wait.
            while not self._stopped and len(self._things) >= self._places:
                self._changed.wait(0.5)
            if self._stopped:
                return False
            self._things.append(thing)
            self._changed.notify_all()
            return True

    def finish(self, error: BaseException | None = None) -> None:
        """Say that nothing more will come; whoever takes from it meets `error` after the last thing."""
        with self._changed:
            self._finished, self._error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        """Say that nothing more will be taken; what lies on it is dropped."""
        with self._changed:
            self._stopped = True
            self._things.clear()
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        """Whether nobody will take anything from it any more."""
        with self._changed:
            return self._stopped

    def get(self, seconds: float | None = None) -> T | None:
        """Take the next thing off.

        Args:
            seconds: wait this long at most; None waits for ever.

        Returns:
            None when nothing came in time, or nothing will come; `ended` tells which.

        Raises:
            BaseException: what `finish` was given.
        """
        with self._changed:
            while not self._things and not self._finished and not self._stopped:
                if not self._changed.wait(0.5 if seconds is None else seconds) and seconds is not None:
                    return None
            if self._things:
                thing = self._things.popleft()
                self._changed.notify_all()
                return thing
            if self._error is not None:
                raise self._error
            return None

    @property
    def ended(self) -> bool:
        """Whether it is empty and will stay so. Not while there is an error that `get` has still to raise."""
        with self._changed:
            return not self._things and (self._stopped or (self._finished and self._error is None))
