"""A referee and a timer that answer as a test says, and need no GPU."""

from types import SimpleNamespace

from kopt.device.cuda.results.verdicts import Recorded
from kopt.device.cuda.sharing.sheets import Sheet
from kopt.device.draws.distributions import Draw
from kopt.device.expected.compare import Comparison
from kopt.model.kernel import Kernel
from kopt.model.problem import Workload

MAIN = Workload(name="main", constants={})
DRAWS = [Draw(MAIN, name, at) for at, name in enumerate(["normal", "normal", "integer", "range"])]
RIGHT, WRONG = Comparison(None, ""), Comparison(None, "2 of 4 elements are wrong")
NOTHING = Recorded((), {}, (), {})


class Process:
    """Answers calls as a test says; notes them."""

    def __init__(self, name, **answers):
        self.name, self.pid, self.answers, self.asked = name, 7, answers, []

    def call(self, method, *arguments, seconds):
        self.asked.append((method, *arguments))
        answer = self.answers.get(method)
        answer = answer(*arguments) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer


def sheets(changed=()):
    """Sheets of the draws, whose arguments are called A and B."""
    return [Sheet(MAIN, (), dict.fromkeys(("A", "B")), changed=changed)] * len(DRAWS)


class ScriptedProcesses:
    """Processes whose answers a test gives."""

    def __init__(self, timer=None, **referee):
        self.problem = SimpleNamespace(main=(MAIN,), seed=Kernel(source=""))
        self.timer = Process("the timer", **({"check": True} | (timer or {})))
        self.referee = Process("the referee", **({"judge": judged(), "mutated": ()} | referee))

    def start_timer(self):
        return self.timer

    def end_timing(self):
        pass

    def check_health(self):
        pass


def judged(wrong=(), ghost=WRONG):
    """The referee's comparisons: only the ghost is compared on the second set."""
    return lambda slot, at: ghost if at == 1 else WRONG if at in wrong else RIGHT
