"""Several copies of a network side by side, each on a frame of its own; answers come in the order of the frames.

One frame on two cores waits for both at every layer. Two frames on a core each do not: on two cores a seventh more frames a second, on
many cores several times as many. A camera wants its newest frame soon and has a crew of one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from segwright.machine import cores_here
from segwright.predict.feed import Ended
from segwright.predict.frame import Frame
from segwright.predict.predictor import Prediction, Predicts

LARGEST = 8
"""Members of a crew: each has the network's weights and working memory for itself."""
IN_HAND = 2
"""Frames per member that are given out at once, so that nobody waits for the next while the eldest is waited for."""


def members() -> tuple[int, int]:
    """How many members suit this machine, and how many threads are left for each."""
    cores = cores_here()
    crew = min(cores, LARGEST)
    return crew, cores // crew


class Crew:
    """Hands frames out to its members, and their answers back in order.

    Args:
        predictors: the members; one alone works where `give` is called, more have a thread each.
        probabilities: ask for them with every answer.
    """

    def __init__(self, predictors: Sequence[Predicts], *, probabilities: bool = False) -> None:
        self._probabilities = probabilities
        self._size = len(predictors)
        self._free: SimpleQueue[Predicts] = SimpleQueue()
        for predictor in predictors:
            self._free.put(predictor)
        self._pool = ThreadPoolExecutor(self._size, "network") if self._size > 1 else None
        self._given: deque[tuple[Frame, Prediction | Future[Prediction]] | Ended] = deque()
        self._working = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is in hand."""
        return not self._given

    def give(self, item: Frame | Ended) -> None:
        """Hand out a frame, or pass the end of a source along in its place."""
        if isinstance(item, Ended):
            self._given.append(item)
        elif self._pool is None:
            self._given.append((item, self._work(item)))
        else:
            self._given.append((item, self._pool.submit(self._work, item)))
            self._working += 1

    def answers(self, *, everything: bool = False) -> Iterator[tuple[Frame, Prediction] | Ended]:
        """Take what is ready at the head of the line; where enough frames are in hand, wait for the eldest.

        Args:
            everything: wait for all of them.
        """
        while self._given:
            head = self._given[0]
            if isinstance(head, Ended):
                self._given.popleft()
                yield head
                continue
            frame, answer = head
            if isinstance(answer, Future):
                if not (everything or answer.done() or self._working >= IN_HAND * self._size):
                    return
                answer = answer.result()
                self._working -= 1
            self._given.popleft()
            yield frame, answer

    def close(self) -> None:
        """Let everybody finish the frame they are at; what nobody has begun is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _work(self, frame: Frame) -> Prediction:
        predictor = self._free.get()
        try:
            return predictor.predict(frame.image, key=frame.key, probabilities=self._probabilities)
        finally:
            self._free.put(predictor)
