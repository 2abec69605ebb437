"""Records of runs in which others have written, and pages as tests read them."""

import re
from html.parser import HTMLParser

from kopt.model.cost import LabelledCost
from kopt.model.environment import Environment
from kopt.report.record import Agreed, Comparison, Diagnosed, Lessons

HOSTILE = "</code></pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u202e"
ENVIRONMENT = Environment(gpu="NVIDIA H200", uuid="GPU-1", driver="580.1", torch="2.11", triton="3.6", evaluator="e")
VOID = {"meta", "br", "img", "link", "input", "wbr"}
SCRIPTS = re.compile(r"<script.*?</script>", re.DOTALL)
PAID = {"calls": 1, "paid_usd": 0.75, "saved_usd": 0.25}
STORED = {"stored": 1, "stored_usd": 0.75}
EXTRA = ("costs", "diagnoses", "agreement", "lessons")


class Page(HTMLParser):
    """Tags of a page, and whether they close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def hostile(record):
    trials = [t.model_copy(update={"description": HOSTILE, "reason": HOSTILE, "model": HOSTILE}) for t in record.trials]
    final = record.final.model_copy(update={"description": HOSTILE})
    return record.model_copy(
        update={
            "trials": tuple(trials), "final": final, "run": HOSTILE, "best_source": HOSTILE, "configuration": HOSTILE,
            "command": HOSTILE, "proposers": {HOSTILE: HOSTILE}, "counters": {HOSTILE: HOSTILE},
            "folder": HOSTILE, "call": HOSTILE, "limits": hostile_limits(record.limits),
            "baselines": tuple(one.model_copy(update={"origin": HOSTILE}) for one in record.baselines),
            "asked_to_fix": {trial.name: HOSTILE for trial in trials},
            "workloads": tuple(one.model_copy(update={"name": HOSTILE, "sizes": HOSTILE}) for one in record.workloads),
            "measured_with": ENVIRONMENT.model_copy(update={"driver": HOSTILE, "torch": HOSTILE}),
            "device": HOSTILE, "models": (HOSTILE,), "versions": {HOSTILE: HOSTILE}, "preset": HOSTILE,
            "kernels": tuple(hostile_kernel(kernel) for kernel in record.kernels),
            "roofs": tuple(roof.model_copy(update={"workload": HOSTILE}) for roof in record.roofs),
        }
    )  # fmt: skip


def hostile_limits(limits):
    direction = limits.diagnosis.directions[0].model_copy(update={"cause": HOSTILE, "bottleneck": HOSTILE})
    diagnosis = limits.diagnosis.model_copy(update={"directions": (direction,)})
    profile = limits.profile.model_copy(update={"notes": (HOSTILE,)})
    return limits.model_copy(update={"profile": profile, "diagnosis": diagnosis})


def hostile_kernel(kernel):
    """The same kernel with hostile text wherever a candidate or a compiler writes."""
    profile = kernel.profile.model_copy(update={"notes": (HOSTILE,)})
    direction = kernel.diagnosis.directions[0].model_copy(update={"cause": HOSTILE, "direction": HOSTILE})
    diagnosis = kernel.diagnosis.model_copy(update={"source": HOSTILE, "directions": (direction,)})
    launches = [one.model_copy(update={"kernel": HOSTILE, "constants": HOSTILE}) for one in kernel.launches]
    exchange = kernel.exchange.model_copy(update={"model": HOSTILE, "prompt": HOSTILE, "reply": HOSTILE})
    times = [one.model_copy(update={"workload": HOSTILE, "notes": HOSTILE}) for one in kernel.times]
    return kernel.model_copy(
        update={
            "selection": HOSTILE, "changes": (HOSTILE, HOSTILE),
            "source": HOSTILE, "parent_source": "x", "note": HOSTILE, "profile": profile, "diagnosis": diagnosis,
            "followed": direction, "exchange": exchange, "launches": tuple(launches), "times": tuple(times),
            "changed": tuple(one.model_copy(update={"where": HOSTILE, "after": HOSTILE}) for one in kernel.changed),
        }
    )  # fmt: skip


def asked(record, text="gpt-5-4", **counts):
    """The same run with all that language models tell, each of it holding `text`."""
    usage = {"input": 900, "cached": 400, "output": 80, "reasoning": 20, **(counts or PAID)}
    return record.model_copy(
        update={
            "costs": tuple(
                LabelledCost(label=f"r{r}a0s{slot}", model=text, round=r, purpose="propose", slot=slot, **usage)
                for r in (1, 2)
                for slot in (0, 1)
            ),
            "diagnoses": (Diagnosed(round=0, place=1, parent=text, source=text, bottlenecks=(text,)),),
            "agreed": (
                Agreed(technique=text, both=6, facts_only=1, model_only=1),
                Agreed(technique="none", both=0, facts_only=0, model_only=0),
            ),
            "lessons": (Lessons(round=1, worked=(text,), failed=(text,), advice=(text,)),),
        }
    )  # fmt: skip


def beside(record):
    """A run that was measured beside baselines, on two workloads."""
    against = (Comparison(name="eager", ms=2.5, speedup=1.8, low=1.75, high=1.85),)
    return measured(record).model_copy(
        update={
            "final": measured(record).final.model_copy(update={"against": against, "workloads": {"a": 1.1, "b": 1.2}})
        }
    )


def measured(record):
    """The same run on a GPU."""
    fields = {"estimated": False, "eager_ms": 1.5, "compile_ms": 1.4, "interval": (1.3, 1.4)}
    return record.model_copy(
        update={
            "judge": "cuda",
            "final": record.final.model_copy(update=fields),
            "rounds": tuple(r.model_copy(update={"estimated": False}) for r in record.rounds),
            "trials": tuple(t.model_copy(update={"estimated": t.time_ms and False}) for t in record.trials),
        }
    )


def article_of(name, page):
    return page.partition(f'<details class="kernel" id="k-{name}">')[2].partition('<details class="kernel"')[0]


def on_a_gpu(record):
    """The same run with its times measured, and jobs that held two GPUs."""
    jobs = [job.model_copy(update={"gpu": job.rule == "evaluate"}) for job in record.jobs]
    second = jobs[1].model_copy(update={"began": jobs[1].began + 10})
    return measured(record).model_copy(update={"jobs": (*jobs, second), "measured_with": ENVIRONMENT})


def quiet(times):
    return tuple(one.model_copy(update={"notes": ""}) for one in times)


def places_of(text, value, path=()):
    """Where a text stands in a specification."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    else:
        return [path] if isinstance(value, str) and text in value else []
    return [place for key, one in pairs for place in places_of(text, one, (*path, key))]
