"""Scripts that are run as a search's jobs are, by forks of warm parents of a test's own."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

from kopt.warm import place

ROOT = Path(__file__).resolve().parents[2]
SECRET = "dGhlIHNlY3JldA"


class Jobs:
    """Scripts started as Snakemake starts them, with a parent of this test module's own."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self.folder, self.root = folder, root
        self.environ = os.environ | {
            "PYTHONPATH": str(root), "KOPT_WARM": "light", "PYTHON_OF_THIS_TEST": uuid.uuid4().hex,
            "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "A_KEY": SECRET,
        }  # fmt: skip

    def start(
        self, text: str, *words: str, warm: bool = True, name: str = "script", **others: object
    ) -> subprocess.Popen[str]:
        script = self.folder / f"{name}.py"
        script.write_text(text)
        command = [sys.executable, "-P", f"{self.root}/workflow/start.py", str(script), *words]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": self.folder} | others
        environ = self.environ if warm else {k: v for k, v in self.environ.items() if k != "KOPT_WARM"}
        return subprocess.Popen(command, env=environ, **options)

    def run(self, text: str, *words: str, warm: bool = True, given: str = "") -> tuple[int, str, str]:
        job = self.start(text, *words, warm=warm, stdin=subprocess.PIPE)
        out, err = job.communicate(given)
        return job.returncode, out, err

    def parents(self) -> dict[str, int]:
        """Pids of the light parents that live, by name."""
        found = {}
        for note in Path(place.private_folder()).glob("*.note"):
            pid, root, _ = note.read_text().split("\n")
            if root == str(self.root) and Path("/proc", pid).exists():
                found[note.stem] = int(pid)
        return found


def gone(pid: int) -> bool:
    """Whether a process ends within some seconds."""
    return comes(lambda: not Path("/proc", str(pid)).exists() or state(pid) == "Z")


def state(pid: int) -> str:
    return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]


def comes(holds) -> bool:
    """Whether something comes true within some seconds."""
    for _ in range(200):
        if holds():
            return True
        time.sleep(0.05)
    return False
