"""Time calls: on the device by CUDA events, and on the host.

One timed call: fill the memory that the call will allocate with NaN, synchronise, overwrite an L2 cache twice over,
keep the device busy until the host has queued everything, record an event, call, record an event, synchronise.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

from kopt.device.cuda.timer.opened_inputs import OpenedInputs
from kopt.device.cuda.timer.scratch import Scratch
from kopt.device.cuda.timer.subject import TimedSubject

FLUSH_BYTES = 256 << 20
"""At least twice the size of any present L2 cache."""
HEAD_START_CYCLES = 400_000
"""Cycles for which the device is kept busy before a timed call, about 0.2 ms, while the host queues the call."""
QUEUED_CYCLES = 20_000_000
"""Cycles for which the device is kept busy, about 10 ms, while it is measured how long the host queues a call."""
QUEUED_CALLS = 3
"""Calls of which the slowest tells how long the host queues one."""
QUEUED_ROOM = 2.0
"""Time for which the device is kept busy before a timed call of a baseline, over what the host needs to queue it."""
MOST_CYCLES = 50_000_000
"""Most cycles for which the device is kept busy before a timed call, about 25 ms: a call that waits for the device
cannot be queued."""
CYCLES_PER_SECOND = 2e9
"""Clock of a present GPU, rounded up."""
BUSY_FILLS = 100
"""Times that the cache is overwritten after a pause, which takes about 10 ms."""
WALL_CALLS = 5
"""Calls whose median wall time is reported."""


class Clock:
    """Time calls of subjects, on a device that does nothing else."""

    def __init__(self) -> None:
        """Take the memory that flushes the cache, and give Triton the memory that launches ask for."""
        import triton

        self._flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
        self._scratch = Scratch()
        triton.set_allocator(self._scratch)

    def prepare(self, subject: TimedSubject) -> None:
        """Prepare a call of a subject: make the memory that its launches ask for anew."""
        self._scratch.begin(subject)

    def keep_busy(self) -> None:
        """Make the device as busy as it is before timed calls, after a pause."""
        for _ in range(BUSY_FILLS):
            self._flush.zero_()
        torch.cuda.synchronize()

    def timed(self, subject: TimedSubject, place: int) -> tuple[float, list[torch.Tensor]]:
        """Time one call on the input set at `place`; return its time in ms and its result."""
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        memory = subject.memory()
        self.prepare(subject)
        torch.cuda.synchronize()
        self._flush.zero_()
        torch.cuda._sleep(HEAD_START_CYCLES + subject.queue_cycles)
        before.record()
        tensors = subject.call(place, memory, False)
        after.record()
        torch.cuda.synchronize()
        return before.elapsed_time(after), tensors

    def queue_cycles(self, subject: TimedSubject, sets: Sequence[OpenedInputs]) -> int:
        """Return for how long the device has to be busy while the host queues a call, which may take milliseconds.

        Otherwise the time of a reference of many small operations, or of autograd's, would be that of the host.

        Args:
            subject: to call.
            sets: timed input sets of the workload, which the calls rotate over.
        """
        longest = 0.0
        for turn in range(QUEUED_CALLS):
            place = turn % len(sets)
            self.prepare(subject)
            torch.cuda.synchronize()
            torch.cuda._sleep(QUEUED_CYCLES)
            start = time.perf_counter()
            subject.call(place, None, False)
            longest = max(longest, time.perf_counter() - start)
            sets[place].restore()
        torch.cuda.synchronize()
        return min(int(QUEUED_ROOM * longest * CYCLES_PER_SECOND), MOST_CYCLES)

    def wall_ms(self, subject: TimedSubject, sets: Sequence[OpenedInputs]) -> float:
        """Measure the median wall time of one call on an idle device, the host's work included, ms.

        Args:
            subject: to call.
            sets: timed input sets of the workload, which the calls rotate over.
        """
        times = []
        for turn in range(WALL_CALLS):
            place = turn % len(sets)
            self.prepare(subject)
            torch.cuda.synchronize()
            start = time.perf_counter()
            subject.call(place, None, False)
            torch.cuda.synchronize()
            times.append(1e3 * (time.perf_counter() - start))
            sets[place].restore()
        torch.cuda.synchronize()
        return statistics.median(times)
