"""Ask without a network: requests go into a folder, replies come back through it.

    <folder>/README.md                        what to do
    <folder>/requests-<model>.jsonl           pending requests in the OpenAI batch format
    <folder>/requests-<model>.anthropic.jsonl the same for Anthropic's batches, for its models
    <folder>/<digest>.md                      one pending request, for a person to read

Answers are picked up on the next call, from any of:

    <folder>/<digest>.reply.md                the reply's text
    <folder>/*.jsonl                          batch output of OpenAI or Anthropic (any name but `requests-*`)

A person, another machine or another program may answer; what they wrote is checked, priced and kept like any reply.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kopt import artifact
from kopt.llm import wire
from kopt.llm.ask import replies_of
from kopt.llm.ledger import Ledger
from kopt.llm.reply import Kept, Reply
from kopt.llm.request import Request, key_of
from kopt.llm.table import Model, ModelTable
from kopt.model.base import Value
from kopt.store import Store

log = logging.getLogger(__name__)


class Pending(Value):
    """Requests wait in a folder for someone to answer them."""

    folder: str
    count: int

    @property
    def message(self) -> str:
        """What the user should do, in one line."""
        return (
            f"{self.count} requests wait for replies in {self.folder}: answer them as its README.md says, "
            "then run the same command again"
        )


def exchange(
    asked: Mapping[str, Request], *, table: ModelTable, store: Store, ledger: Ledger, folder: Path
) -> dict[str, Reply] | Pending:
    """Pick up what was answered; when all of it is, the replies, else the folder with what is still pending.

    Raises:
        ConfigError: a request names a model that the table does not have.
        StoreError: the store cannot be written.
    """
    shelf = replies_of(store)
    requests = {request.digest: request for request in asked.values()}
    labels = {request.digest: label for label, request in reversed(list(asked.items()))}
    known = {digest: kept for digest, request in requests.items() if (kept := shelf.get(key_of(request))) is not None}
    for digest, kept in known.items():
        ledger.reuse(requests[digest], labels[digest], kept.usage)
    for digest, kept in pick_up(folder, requests, table):
        if digest not in known:
            known[digest] = shelf.put(key_of(requests[digest]), kept)
            _enter(ledger, requests[digest], labels[digest], known[digest], table)
    pending = {digest: request for digest, request in requests.items() if digest not in known}
    _tidy(folder, pending)
    if pending:
        write(folder, pending, labels, table)
        return Pending(folder=str(folder), count=len(pending))
    return {label: known[request.digest] for label, request in asked.items()}


def _enter(ledger: Ledger, request: Request, label: str, kept: Kept, table: ModelTable) -> None:
    """Note in the ledger what an exchanged reply cost; caps do not bind what others have paid already."""
    price = table.model(request.model).price
    ledger.enter(request, label, kept.status, kept.usage, saved=price.saved(kept.usage))


def write(folder: Path, pending: Mapping[str, Request], labels: Mapping[str, str], table: ModelTable) -> None:
    """Write pending requests for people and for programs."""
    folder.mkdir(parents=True, exist_ok=True)
    artifact.write_text(folder / "README.md", _readme(len(pending)))
    by_model: dict[str, list[tuple[str, Request]]] = {}
    for digest, request in pending.items():
        by_model.setdefault(request.model, []).append((digest, request))
        artifact.write_text(folder / f"{digest}.md", readable(request, labels.get(digest, "")))
    for name, items in by_model.items():
        entry = table.model(name)
        artifact.write_text(folder / f"requests-{name}.jsonl", lines(openai_line(d, r, entry) for d, r in items))
        if entry.provider == "anthropic":
            text = lines(anthropic_line(d, r, entry) for d, r in items)
            artifact.write_text(folder / f"requests-{name}.anthropic.jsonl", text)


def openai_line(digest: str, request: Request, entry: Model) -> wire.Body:
    """A request as a line of OpenAI's batch input; another provider's model in the words of Chat Completions."""
    if entry.provider == "anthropic":
        plain = request.model_copy(update={"sampling": request.sampling.model_copy(update={"extra": {}})})
        request, entry = plain, entry.model_copy(update={"provider": "openai-chat"})
    return {
        "custom_id": digest,
        "method": "POST",
        "url": wire.PATHS[entry.provider],
        "body": wire.body(request, entry),
    }


def anthropic_line(digest: str, request: Request, entry: Model) -> wire.Body:
    """A request as an item of Anthropic's batches."""
    return {"custom_id": digest, "params": wire.body(request, entry)}


def lines(values: Iterable[wire.Body]) -> str:
    """Values as JSON lines."""
    return "".join(json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n" for value in values)


def readable(request: Request, label: str) -> str:
    """A request as Markdown."""
    parts = [
        f"# Request {request.digest}",
        f"- for: {label}\n- model: {request.model} ({request.sampling.api_model})\n- template: {request.template}, "
        f"sample {request.sample}\n- at most {request.max_output_tokens} tokens\n"
        f"- answer: write the reply's text to `{request.digest}.reply.md` in this folder",
    ]
    if request.output_schema:
        schema = json.dumps(request.output_schema.body, indent=1, sort_keys=True)
        parts.append(f"The reply must be JSON that follows this schema:\n\n~~~~json\n{schema}\n~~~~")
    if request.system:
        parts.append(f"## system\n\n{request.system}")
    parts += [f"## {message.role}\n\n{message.whole}" for message in request.messages]
    return "\n\n".join(parts) + "\n"


def _readme(count: int) -> str:
    return (
        f"# {count} requests wait for replies\n\n"
        "Answer them in any of these ways, then run the same command again:\n\n"
        "- by hand: each `<digest>.md` is one request; write the reply's text to `<digest>.reply.md`;\n"
        "- by batch: send `requests-<model>.jsonl` to an API that takes OpenAI's batch format, or\n"
        "  `requests-<model>.anthropic.jsonl` to Anthropic's, and put the output file into this folder under any name\n"
        "  that ends in `.jsonl` and does not begin with `requests-`;\n"
        "- by program: write either of the two.\n\n"
        "Requests that stay unanswered stay pending.  The files contain the prompts and no keys.\n"
    )


def _tidy(folder: Path, pending: Mapping[str, Request]) -> None:
    """Remove our own request files that are no longer pending; replies are left to their owner."""
    if not folder.is_dir():
        return
    for path in [*folder.glob("requests-*.jsonl"), *folder.glob("*.md")]:
        ours = path.name.startswith("requests-") or path.name == "README.md" or _is_digest(path.stem)
        if ours and path.stem not in pending:
            path.unlink(missing_ok=True)


def _is_digest(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")


def pick_up(folder: Path, requests: Mapping[str, Request], table: ModelTable) -> Iterator[tuple[str, Kept]]:
    """Replies that lie in a folder, by request digest; what cannot be used is logged with its place and passed over."""
    for path in sorted(folder.glob("*.reply.md")):
        digest = path.name.removesuffix(".reply.md")
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        if digest not in requests:
            log.info("%s answers no request of this step", path)
        elif text.strip():
            usage = wire.estimated(requests[digest], text)
            yield digest, wire.outcome(text, "by hand", usage)
    for path in sorted(folder.glob("*.jsonl")):
        if not path.name.startswith("requests-"):
            yield from _batch_output(path, requests, table)


def _batch_output(path: Path, requests: Mapping[str, Request], table: ModelTable) -> Iterator[tuple[str, Kept]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").split("\n"), 1):
        if not line.strip():
            continue
        try:
            digest, body = batch_answer(json.loads(line))
            if digest in requests:
                price = table.model(requests[digest].model).price
                yield digest, wire.reply(body, requests[digest], price, batch=True)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s:%d is no usable reply and stays pending: %s", path, number, error)


def batch_answer(line: Any) -> tuple[str, Any]:
    """Request digest and reply body of one line of batch output, OpenAI's or Anthropic's.

    Raises:
        ValueError: the line reports an error.
        KeyError, TypeError, AttributeError: it is no such line.
    """
    digest = line["custom_id"]
    if "result" in line:
        if line["result"]["type"] != "succeeded":
            raise ValueError(f"{digest[:12]}: {line['result']['type']}")
        return digest, line["result"]["message"]
    if line.get("error") or line["response"]["status_code"] != 200:
        raise ValueError(f"{digest[:12]}: {line.get('error') or line['response']['status_code']}")
    return digest, line["response"]["body"]
