"""Entrants of a made-up comparison: runs of two strategies whose best times are given."""

from kopt.comparison.entrant import Entrant, Point


def entrant(label="beam", problem="softmax", seed=0, best=(1.0,), slots=4, **changed):
    """A run whose rounds of `slots` slots end with the times `best`; the seed kernel takes 2 ms."""
    points = [Point(slots=0, dollars=0.0, gpu_s=None, best_ms=2.0)]
    points += [
        Point(slots=slot, dollars=0.0, gpu_s=None, best_ms=before if slot < (place + 1) * slots else after)
        for place, (before, after) in enumerate(zip((2.0, *best), best, strict=False))
        for slot in range(place * slots + 1, (place + 1) * slots + 1)
    ]
    fields = {
        "run": f"{problem}-{label}-{seed}", "folder": f"results/c/{problem}-{label}-{seed}", "label": label,
        "strategy": label, "problem": problem, "workloads": f"digest of {problem}", "judge": "interpret",
        "device": "NVIDIA H100", "kind": "estimated", "replies": "none", "seed": seed,
        "slots_planned": slots * len(best), "stopped": None, "proposers": ("kopt-rewrite",), "settings": {},
        "versions": {"torch": "2.11"}, "store": "/store", "points": tuple(points),
    }  # fmt: skip
    return Entrant(**fields | changed)


def spent(entrant, dollars=0.0, gpu_s=None):
    """The same run, whose every point after the seed had cost so much more than the one before."""
    points = [
        point.model_copy(update={"dollars": dollars * place, "gpu_s": None if gpu_s is None else gpu_s * (place + 1)})
        for place, point in enumerate(entrant.points)
    ]
    return entrant.model_copy(update={"points": tuple(points)})


def field(times, problems=("softmax",), labels=("beam", "clustered")):
    """Runs of every label and problem; `times` has a list of best times by seed for each label."""
    return [
        entrant(label, problem, seed, (best,))
        for label in labels
        for problem in problems
        for seed, best in enumerate(times[label])
    ]
