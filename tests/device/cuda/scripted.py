"""Processes of a judge that need no GPU: each kernel has the times and the faults that a test gives it."""

import random

from kopt.device.cuda.recording.program import RecordedCall, View
from kopt.device.cuda.results.chunk_results import ChunkResults
from kopt.device.cuda.results.times import Times
from kopt.device.cuda.results.verdicts import Recorded, failure
from kopt.device.cuda.timing.batch import InputChanged, Pair
from kopt.device.cuda.timing.loaded_timer import LoadedTimer
from kopt.device.hardware.measured import MeasuredDevice
from kopt.errors import WorkerDied
from kopt.model.build import Phase
from kopt.model.device import Device
from kopt.model.environment import Conditions, Environment
from kopt.model.problem import Dtype, ProblemFacts, TensorSpec, WorkloadFacts
from kopt.model.verdict import Incorrect
from kopt.sandbox.service import CallFailed
from tests.device.small import SCALE

FACTS = ProblemFacts(
    dtype=Dtype.BFLOAT16,
    workloads=(
        WorkloadFacts(
            workload="main",
            inputs=(TensorSpec(name="x", shape=(1 << 30,), dtype="bfloat16"),),
            outputs=(TensorSpec(name="output", shape=(1024,), dtype="bfloat16"),),
            eager_ops=(),
        ),
    ),
)
"""2 GiB in, next to nothing out: 0.69 ms at 3000 GB/s with the roofline's headroom."""

DEVICE = Device(
    name="a GPU", arch=90, sm_count=132, shared_bytes_per_block=232448, shared_bytes_per_sm=233472,
    l2_bytes=50 << 20, memory_bytes=80 << 30, sm_clock_mhz=1980, copy_gb_s=3000.0, vector_tflop_s=60.0, measured=True,
)  # fmt: skip
GPU = MeasuredDevice(device=DEVICE, uuid="GPU-1", driver="1", read_gb_s=3000.0)
HERE = Environment(gpu="a GPU", uuid="GPU-1", driver="1", torch="2", triton="3", evaluator="4")
COOL = Conditions(sm_clock_mhz=(1980, 1980), temperature_c=40, power_w=300.0)
HOT = COOL.model_copy(update={"throttle": ("thermal (hardware)",)})
PROGRAM = RecordedCall(
    workload="main",
    arguments=1,
    steps=(),
    outputs=(View(storage=0, offset=0, shape=(1,), stride=(1,), dtype="float32"),),
)


def no_results() -> ChunkResults:
    return ChunkResults(Times(FACTS, GPU, HERE))


class ScriptedBatch:
    with_memory = LoadedTimer.with_memory
    """Processes of a judge and their batch in one, whose kernels have the times and the faults that they are given."""

    def __init__(self, ms, unverified=(), unadmitted=(), wrong_when_timed=(), breaks=(), breaks_early=(),
                 breaks_beside=(), breaks_unseen=(), breaks_unseen_beside=(), writes=(), unseen=None,
                 cannot=(), cannot_be_compared=(), most_in_memory=99):  # fmt: skip
        self.ms, self.unverified, self.unadmitted = ms, unverified, unadmitted
        self.wrong_when_timed, self.breaks, self.breaks_early = wrong_when_timed, breaks, breaks_early
        self.breaks_beside, self.breaks_unseen, self.writes = breaks_beside, breaks_unseen, writes
        self.breaks_unseen_beside, self.kept_of = breaks_unseen_beside, {}
        self.cannot_be_compared, self.most_in_memory = cannot_be_compared, most_in_memory
        self.unseen, self.cannot = unseen or {}, cannot
        self.random = random.Random(1)
        self.launches = dict.fromkeys(ms, 0)
        self.baselines = {}
        self.compiled = []
        self.problem = SCALE
        self.slower = 1.0
        """How much slower every call on new inputs is."""
        self.turns = 0

    def verified(self, names):
        """Outcomes of verification by name."""
        right = Recorded((PROGRAM,), {}, (), {"verify": 1.0})
        return {name: failure(Phase.CRASH, "died") if name in self.unverified else right for name in names}

    def begin_timing(self, memory_bytes, turn):
        return self

    def end_timing(self):
        pass

    def compile(self, subject, seconds):
        self.compiled.append(subject.name)
        if f"compile {subject.name}" in self.cannot:
            raise CallFailed("Unsupported: a graph break")
        return b"packed"

    def add_baseline(self, subject, seconds):
        if subject.name in self.cannot:
            raise CallFailed("NameError: x")
        self.baselines[subject.name] = subject
        self.launches[subject.name] = 0

    def admit(self, candidates):
        return {name: failure(Phase.MUTATION, "writes") for name in candidates if name in self.unadmitted}

    def warm(self, names, calls):
        if set(names) & set(self.breaks_early):
            raise WorkerDied("the timer died")

    def wall_ms(self, name):
        return {"main": 2.0}

    def race(self, names, launches, start):
        if self.most_in_memory < len(names):
            raise CallFailed("OutOfMemoryError: CUDA out of memory", "the timer")
        if set(names) & set(self.breaks) or (set(names) & set(self.breaks_beside) and len(names) > 1):
            raise WorkerDied("the timer died")
        if set(names) & set(self.writes):
            raise InputChanged("A")
        for name in names:
            self.launches[name] += launches
        return {"main": {name: self._times(self.ms[name], launches) for name in names}}

    def alternate(self, names, turn, *, keep):
        self.turns += 1
        if set(names) & set(self.breaks_unseen):
            raise WorkerDied("the timer died")
        if set(names) & set(self.breaks_unseen_beside) and len(names) > 1:
            raise CallFailed("OutOfMemoryError: CUDA out of memory\nin timed")
        self.kept_of |= dict.fromkeys(names, self.turns) if keep else {}
        return {"main": {name: self._pair(name) for name in names}}

    def _pair(self, name):
        known = self.ms.get(name, 1.0)
        new = self.unseen.get(name, known)
        return Pair(*self._times(self.slower * (new(self.turns) if callable(new) else new), 1), *self._times(known, 1))

    def _times(self, ms, count):
        return [ms * self.random.uniform(0.999, 1.001) for _ in range(count)]

    def is_of_referee(self, error):
        return getattr(error, "process", "") == "the referee"

    def verify_kept_output(self, name):
        if name in self.cannot_be_compared:
            raise CallFailed("OutOfMemoryError: CUDA out of memory", "the referee")
        if self.kept_of.pop(name, self.turns) != self.turns:
            return Incorrect(judge="cuda", reason="compared with the results of other inputs")
        return Incorrect(judge="cuda", reason="wrong later") if name in self.wrong_when_timed else None

    def revive(self, cause):
        pass

    def drop(self, name):
        pass
