"""Record how long each job of a run takes, and how much of it is start-up: imports, and the start of Python.

Python imports this module by itself where its folder is on PYTHONPATH.  PYTHON_JOB_TIMES names the folder of records.
"""

import atexit
import builtins
import json
import os
import resource
import sys
import time


def record():
    """Record this process, if it is a job or a warm parent."""
    folder = os.environ.get("PYTHON_JOB_TIMES")
    words = getattr(sys, "orig_argv", [])
    if not folder or not any(word.endswith("workflow/start.py") for word in words):
        return
    begun = {
        "wall": time.time(),
        "import_wall": 0.0,
        "import_cpu": time.process_time(),
        "depth": 0,
        "forked": False,
    }
    original = builtins.__import__

    def timed(*args, **named):
        if begun["depth"]:
            return original(*args, **named)
        wall, cpu = time.time(), time.process_time()
        begun["depth"] = 1
        try:
            return original(*args, **named)
        finally:
            begun["depth"] = 0
            begun["import_wall"] += time.time() - wall
            begun["import_cpu"] += time.process_time() - cpu

    def parent():
        """Keep what a warm parent has used so far; its forks keep their own."""
        with open("/proc/self/comm") as file:
            if file.read().strip() == "kopt-warm":
                used = resource.getrusage(resource.RUSAGE_SELF)
                begun.update(forked=True, wall=time.time())  # it mostly waits
                keep_as("(parents)", f"parent-{os.getpid()}", used.ru_utime + used.ru_stime)

    def forked():
        begun.update(forked=True, wall=time.time(), import_wall=0.0, import_cpu=0.0)

    def keep():
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(one.ru_utime + one.ru_stime for one in used)
        script = os.path.basename(sys.argv[0]).removesuffix(".py")
        keep_as(script, f"{script}-{os.getpid()}-{time.time_ns()}", cpu)

    def keep_as(script, name, cpu):
        told = {
            "script": script, "wall": time.time() - begun["wall"], "cpu": cpu, "import_wall": begun["import_wall"],
            "import_cpu": begun["import_cpu"], "forked": begun["forked"],
        }  # fmt: skip
        with open(os.path.join(folder, f"{name}.json"), "w") as file:
            json.dump(told, file)

    builtins.__import__ = timed
    os.register_at_fork(before=parent, after_in_child=forked)
    atexit.register(keep)


record()
