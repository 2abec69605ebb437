"""Kill a search again and again: does it end with the same selection as one that was left alone?

    python benchmarks/interruptions.py [--kills 10] [--problem softmax] [--rounds 2] [--seed 0]
                                       [--settings SETTING=VALUE ...]

Runs the embedded search (real builds, interpreter, estimates) twice from an empty store: once undisturbed, once with
SIGKILL of Snakemake and all its children at random moments, each followed by `--unlock` and the same command.  Prints
the digests of the final selections and how many items the stores hold; exits 1 when selections differ.  A disturbed
search that ends before enough kills struck is begun again from an empty store; each that ended counts.  `--settings`
adds settings to the search that is killed: `warm=true` must change nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Search:
    """One search in a folder of its own."""

    def __init__(self, folder: Path, problem: str, rounds: int, *settings: str) -> None:
        self.folder = folder
        self.rounds = rounds
        snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        self.base = [*snakemake, "--directory", str(folder), "--cores", "2", "--quiet", "all"]
        words = (f"problem={problem}", f"rounds={rounds}", "run=t", "models=[kopt-rewrite]")
        self.config = ["--config", *words, *settings]

    def start(self) -> subprocess.Popen[bytes]:
        """Start the search in a process group of its own."""
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen([*self.base, *self.config], stdout=output, stderr=output, start_new_session=True)

    def killed_after(self, seconds: float) -> bool:
        """Start the search and kill it after some seconds; False when it ended before that."""
        process = self.start()
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        return False

    def forget(self) -> None:
        """Remove the run and its store."""
        shutil.rmtree(self.folder / "results")

    def unlock(self) -> None:
        """What the documentation says to do after a kill."""
        subprocess.run([*self.base, "--unlock", *self.config], check=True, capture_output=True)

    def finish(self) -> float:
        """Run to the end; returns seconds."""
        started = time.perf_counter()
        if self.start().wait():
            sys.exit((self.folder / "output").read_text()[-3000:])
        return time.perf_counter() - started

    def selections(self) -> str:
        """Digest of all rounds' selections and the best kernel."""
        run = self.folder / "results" / "t"
        files = [*(run / f"round_{r}" / "selection.parquet" for r in range(self.rounds + 1)), run / "best_kernel.py"]
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]

    def items(self) -> int:
        """Items in the store."""
        return sum(path.is_file() for path in (self.folder / "results/store").rglob("*.*"))


def disturb(search: Search, kills: int, span: float, drawn: random.Random) -> list[str]:
    """Kill the search at random moments within `span` seconds of its start, until as many kills struck.

    One that ended before its moment is looked at and begun again from nothing, with moments drawn a little earlier.

    Returns:
        selections of the searches that ended, the last one's included.
    """
    struck, ended = 0, []
    while struck < kills:
        if search.killed_after(drawn.uniform(0.05, 1.0) * span):
            struck += 1
            search.unlock()
        else:
            ended.append(search.selections())
            span *= 0.9
            search.forget()
    search.finish()
    return [*ended, search.selections()]


def main() -> int:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--problem", default="softmax")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", nargs="*", default=[], metavar="SETTING=VALUE")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="kopt-calm-") as quiet,
        tempfile.TemporaryDirectory(prefix="kopt-") as rough,
    ):
        left_alone = Search(Path(quiet), options.problem, options.rounds)
        disturbed = Search(Path(rough), options.problem, options.rounds, *options.settings)
        seconds = left_alone.finish()
        calm = left_alone.selections()
        print(f"left alone  {calm}  {left_alone.items():>4} items  {seconds:6.1f} s", flush=True)
        ended = disturb(disturbed, options.kills, seconds / 2, random.Random(options.seed))
        print(f"{options.kills:>2} kills    {' '.join(ended)}  {disturbed.items():>4} items in the last one's store")
        same = set(ended) == {calm}
        print("the same selection" if same else "ANOTHER selection")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
