"""Compare strategies at equal dollars, on recorded replies of language models that a local server gives again.

    python benchmarks/dollars.py [--problems maxpool3d rmsnorm] [--seeds 3] [--rounds 4] [--cores 2] [--folder FOLDER]

Two models are made up of the archives in docs/results: `author` (5 and 25 dollars for a million tokens in and out)
gives any reply of the last recorded round; `apprentice` costs a tenth, gives replies of round 1, and half of its
replies hold no kernel.  Each request gets one of these replies at random, whatever it asks, so that a search cannot
steer what a model writes: only which model is asked how often, and which kernels are kept, differs between strategies.
Prices, models and their failures are made up; replies are recorded; times are estimates (judge interpret).  Each search
has a store of its own, so that it pays for each of its replies.  `kopt compare` makes the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from kopt.llm.pack import measurements_packed

ROOT = Path(__file__).resolve().parent.parent
ARCHIVES = ROOT / "docs/results/h200"
USELESS = "The kernel is bound by memory. I would widen its loads and try more warps."
PRICES = {"author": (5.0, 25.0), "apprentice": (0.5, 2.5)}
"""US dollars for a million tokens in, and out, by model."""
FAILING = {"author": 0.0, "apprentice": 0.5}
"""Share of the replies that hold no kernel, by model."""
STRATEGIES = {
    "both models alike": {"strategy": "beam", "models": ["author", "apprentice"], "samples_per_prompt": 1},
    "bandit": {"strategy": "bandit", "models": ["author", "apprentice"], "samples_per_prompt": 1},
    "author alone": {"strategy": "beam", "models": ["author"], "samples_per_prompt": 2},
    "apprentice alone": {"strategy": "beam", "models": ["apprentice"], "samples_per_prompt": 2},
}


def replies(problem: str) -> dict[int, list[str]]:
    """Return the recorded replies that hold a right kernel, by round."""
    archive = ARCHIVES / f"{problem}.replies.tar.xz"
    measured = measurements_packed(archive)
    assert measured is not None
    texts: dict[str, str] = {}
    with tarfile.open(archive) as tar:
        for name in tar.getnames():
            file = tar.extractfile(name)
            item = json.loads(file.read()) if file and name.endswith(".json") else {}
            if item.get("kind") == "reply":
                texts[Path(name).stem] = item["value"]["text"]
                texts[item["key"]["request"]] = item["value"]["text"]
    rounds: dict[int, list[str]] = {}
    for label, requests in measured.requests.items():
        found = [texts[one] for one in requests if one in texts]
        if found and label.startswith("r"):
            rounds.setdefault(int(label[1:].partition("a")[0]), []).append(found[0])
    return rounds


class Models(BaseHTTPRequestHandler):
    """Answer Chat Completions with recorded replies."""

    recorded: dict[str, dict[int, list[str]]]
    draws = random.Random(0)

    def do_POST(self) -> None:
        """Answer one request; the problem is the first part of the path."""
        problem = self.path.split("/")[1]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        rounds = self.recorded[problem]
        text = self.draws.choice(rounds[max(rounds) if body["model"] == "author" else min(rounds)])
        if self.draws.random() < FAILING[body["model"]]:
            text = USELESS
        self._send(body, text)

    def _send(self, body: dict[str, Any], text: str) -> None:
        prompt = sum(len(str(message["content"])) for message in body["messages"])
        answer = {
            "id": "recorded", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": prompt // 4, "completion_tokens": len(text) // 4,
                      "total_tokens": prompt // 4 + len(text) // 4},
        }  # fmt: skip
        sent = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *given: Any) -> None:
        """Print nothing."""


def table(problem: str, port: int) -> dict[str, Any]:
    """Return the table of models for the searches of one problem."""
    return {
        "models": {
            name: {
                "provider": "openai-chat", "api_model": name, "base_url": f"http://127.0.0.1:{port}/{problem}/v1",
                "key_variable": "RECORDED_KEY",
                "price": {"input": of_input, "cached_input": of_input, "cache_write": of_input, "output": of_output},
            }
            for name, (of_input, of_output) in PRICES.items()
        }
    }  # fmt: skip


def path() -> str:
    """Return the folders of Python's modules: the checkout, then those of this process."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def search(problem: str, options: argparse.Namespace, folder: Path, port: int) -> Path:
    """Run the searches of one problem by `kopt compare`; return their folder."""
    models = folder / f"{problem}.models.yaml"
    models.write_text(yaml.safe_dump(table(problem, port)))
    plan = {
        "name": f"dollars-{problem}", "problems": [problem], "seeds": list(range(options.seeds)),
        "rounds": options.rounds, "slots": 8, "cores": 1, "own_stores": True, "results": str(folder / "results"),
        "settings": {
            "models_file": str(models), "candidate_pool_size": 2, "num_bottlenecks": 2, "max_repairs": 0,
            "judge": "interpret", "diagnosis": "rules", "reflection": "none", "warm": True,
        },
        "strategies": {name.replace(" ", "-"): settings for name, settings in STRATEGIES.items()},
    }  # fmt: skip
    file = folder / f"{problem}.plan.yaml"
    file.write_text(yaml.safe_dump(plan))
    environment = os.environ | {"PYTHONPATH": path(), "RECORDED_KEY": "none", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "kopt.cli", "compare", str(file), "--cores", str(options.cores)]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return folder / "results" / f"dollars-{problem}"


def main() -> None:
    """Run the searches, and compare them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", nargs="+", default=["maxpool3d", "rmsnorm"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="folder of the searches, kept; the same call goes on there")
    options = parser.parse_args()
    Models.recorded = {problem: replies(problem) for problem in options.problems}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Models)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="kopt-dollars-") as name:
        folder = (options.folder or Path(name)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        runs = [search(problem, options, folder, server.server_port) for problem in options.problems]
        command = [sys.executable, "-m", "kopt.cli", "compare", *map(str, runs)]
        subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": path()}, check=True)


if __name__ == "__main__":
    main()
