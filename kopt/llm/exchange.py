"""Ask without a network: requests go into a folder, replies come back through it.

    <folder>/README.md                       what to do
    <folder>/requests-<model>.jsonl          pending requests in the batch format that most servers take
    <folder>/requests-<model>.<family>.jsonl the same in the format of the model's own provider, where that differs
    <folder>/<digest>.md                     one pending request, for a person to read

The next call reads replies from any of:

    <folder>/<digest>.reply.md               the reply's text
    <folder>/*.jsonl                         batch output in the format of any provider (any name but `requests-*`)

What others put there is never removed or replaced (`kopt.llm.exchange_folder`); what is called like no answer is named.
A person, another machine or another program may answer; the answers are checked, priced and kept like any reply.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from kopt import artifact
from kopt.llm import exchange_folder
from kopt.llm.ask import replies_of
from kopt.llm.ledger import Ledger
from kopt.llm.outcome import outcome_by_hand, outcome_of_any
from kopt.llm.provider import Body, Json
from kopt.llm.registry import all_providers, full_body, portable_provider, provider_named
from kopt.llm.reply import Kept, Reply
from kopt.llm.request import Request, key_of
from kopt.llm.table import Model, ModelTable
from kopt.model.base import Value
from kopt.neutral import visible
from kopt.store import Store

log = logging.getLogger(__name__)

MOST_TEXT_BYTES = 16 << 20
"""Most bytes of a reply, and of a line of batch output."""
MOST_BATCH_BYTES = 1 << 30
"""Most bytes of a file of batch output."""
AS_BATCH = "a batch's output must be called NAME.jsonl, not requests-..., with one JSON object per line"
"""Advice about a file that seems to be the output of a batch, but has another name than kopt reads."""
MOST_WARNINGS = 10
"""Most lines of one file that are named as unusable; of the others the number is told."""


class Pending(Value):
    """Requests that wait in a folder for their replies."""

    folder: str
    count: int

    @property
    def message(self) -> str:
        """The instruction for the user, in one line."""
        return (
            f"{self.count} requests wait for replies in {self.folder}: answer them as its README.md says, "
            "then run the same command again"
        )


def exchange(
    asked: Mapping[str, Request], *, table: ModelTable, store: Store, ledger: Ledger, folder: Path
) -> dict[str, Reply] | Pending:
    """Read the replies in the folder; return all replies, or write the pending requests and return them.

    Raises:
        ConfigError: a request names a model that the table does not have.
        StoreError: the store cannot be written.
    """
    shelf = replies_of(store)
    requests = {request.digest: request for request in asked.values()}
    labels = {request.digest: label for label, request in reversed(list(asked.items()))}
    replies = {digest: kept for digest, request in requests.items() if (kept := shelf.get(key_of(request))) is not None}
    for digest, kept in replies.items():
        ledger.reuse(requests[digest], labels[digest], kept.usage)
    for digest, reply in read_replies(folder, requests, table):
        if digest in replies:
            _name_second(folder, store, requests[digest], replies[digest], reply)
        else:
            kept = replies[digest] = shelf.put(key_of(requests[digest]), reply)
            saved = table.model(requests[digest].model).price.saved(kept.usage)
            ledger.enter(requests[digest], labels[digest], kept.status, kept.usage, saved=saved)
    pending = {digest: request for digest, request in requests.items() if digest not in replies}
    _name_unread(folder, requests)
    _remove_answered(folder, pending)
    if pending:
        write_requests(folder, pending, labels, table)
        return Pending(folder=str(folder), count=len(pending))
    return {label: replies[request.digest] for label, request in asked.items()}


def _name_second(folder: Path, store: Store, request: Request, kept: Reply, answer: Kept) -> None:
    """Say that an answer differs from the reply that was kept before."""
    if kept.model_dump(exclude={"usage"}) != answer.model_dump(exclude={"usage"}):
        key = key_of(request)
        log.warning(
            "%s: another answer to request %s than the one that is kept; the first stays (to replace it, move %s away)",
            folder, request.digest, store.path(key.kind, key.digest(), ".json"),
        )  # fmt: skip


def write_requests(folder: Path, pending: Mapping[str, Request], labels: Mapping[str, str], table: ModelTable) -> None:
    """Write pending requests for people and for programs.

    Args:
        folder: is made where it is missing.
        pending: requests by digest.
        labels: labels of the requests, by digest.
        table: has the requests' models.
    """
    folder.mkdir(parents=True, exist_ok=True)
    exchange_folder.write(folder / "README.md", _readme(len(pending)), "give it another name")
    by_model: dict[str, dict[str, Request]] = {}
    for digest, request in pending.items():
        by_model.setdefault(request.model, {})[digest] = request
        exchange_folder.write(folder / f"{digest}.md", readable(request, labels.get(digest, "")), _answer_to(digest))
    for name, requests in by_model.items():
        for suffix, lines in _batch_files(requests, table.model(name)).items():
            text = "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)
            exchange_folder.write(folder / f"requests-{name}{suffix}", text, AS_BATCH)


def _batch_files(requests: Mapping[str, Request], entry: Model) -> dict[str, list[Body]]:
    """Return the requests to one model as lines of batches' input, by the suffix of the file.

    A model of another family is asked in the portable protocol too, without the further fields of its own protocol.
    """
    own, portable = provider_named(entry.provider), portable_provider()
    own_lines = [own.batch_line(n, full_body(r, entry)) for n, r in requests.items()] if own.has_batches else []
    if own_lines and own.family == portable.family:
        return {".jsonl": own_lines}
    files = {".jsonl": [portable.batch_line(n, portable.body(r, entry)) for n, r in requests.items()]}
    return files | ({f".{own.family}.jsonl": own_lines} if own_lines else {})


def readable(request: Request, label: str) -> str:
    """Write a request as Markdown for a person, with everything visible that it holds."""
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
    return visible("\n\n".join(parts)) + "\n"


def _readme(count: int) -> str:
    return (
        f"# {count} requests wait for replies\n\n"
        "Answer them in any of these ways, then run the same command again:\n\n"
        "- by hand: each `<digest>.md` is one request; write the reply's text to `<digest>.reply.md`;\n"
        "- by batch: send `requests-<model>.jsonl` to an API that takes OpenAI's batch format, or\n"
        "  `requests-<model>.<provider>.jsonl` to that provider's own, and put the output file into this folder under\n"
        "  any name that ends in `.jsonl` and does not begin with `requests-`;\n"
        "- by program: write either of the two.\n\n"
        "Requests that stay unanswered stay pending.  The files contain the prompts and no keys.\n"
    )


def _answer_to(digest: str) -> str:
    return f"an answer must be called {digest}.reply.md"


def _remove_answered(folder: Path, pending: Mapping[str, Request]) -> None:
    """Remove the request files that are no longer pending; what others put there stays where they put it."""
    for name in exchange_folder.names(folder):
        stem = name.removesuffix(".md")
        if name.startswith("requests-") and name.endswith(".jsonl"):
            exchange_folder.remove(folder / name, AS_BATCH)
        elif name == "README.md" and not pending:
            exchange_folder.remove(folder / name, "give it another name")
        elif stem != name and _is_digest(stem) and stem not in pending:
            exchange_folder.remove(folder / name, _answer_to(stem))


def _name_unread(folder: Path, requests: Mapping[str, Request]) -> None:
    """Name, in a line each, the files that may be meant as answers and are called otherwise; the rest in one line."""
    others = []
    for name in exchange_folder.names(folder):
        stem = name.removesuffix(".md")
        digest = name[:64].lower()
        if name.endswith((".reply.md", ".jsonl")) and (digest not in requests or name[:64] == digest):
            continue
        if name == "README.md" or (stem != name and _is_digest(stem)):
            continue
        if digest in requests:
            log.warning("%s is passed over: %s", folder / name, _answer_to(digest))
        elif any(word in name.lower() for word in (".json", ".ndjson")):
            log.warning("%s is passed over: %s", folder / name, AS_BATCH)
        else:
            others.append(name)
    if others:
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if others[3:] else "")
        log.warning("%s: passed over, since it is called like no answer: %s", folder, shown)


def _is_digest(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")


def read_replies(folder: Path, requests: Mapping[str, Request], table: ModelTable) -> Iterator[tuple[str, Kept]]:
    """Yield the replies in a folder, by request digest; what cannot be used is logged with its place."""
    for path in sorted(folder.glob("*.reply.md")):
        digest = path.name.removesuffix(".reply.md")
        if digest not in requests:
            log.info("%s answers no request of this step", path)
            continue
        try:
            with artifact.plain_file(path, MOST_TEXT_BYTES) as file:
                text = _text(file.read())
            if not text.strip():
                raise ValueError("it is empty")
        except (OSError, ValueError) as error:
            _refuse(path, error)
            continue
        yield digest, outcome_by_hand(text, requests[digest])
    for path in sorted(folder.glob("*.jsonl")):
        if not path.name.startswith("requests-"):
            try:
                yield from _batch_output(path, requests, table)
            except (OSError, ValueError) as error:
                _refuse(path, error)


def _text(content: bytes) -> str:
    """Decode what a person or a program wrote.

    Raises:
        ValueError: it is no text in UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is no text in UTF-8: save it as UTF-8") from error
    if "\0" in text:
        raise ValueError("it holds NUL bytes, which no text does: save it as UTF-8")
    return text


def _refuse(path: Path, error: Exception) -> None:
    reason = error.strerror if isinstance(error, OSError) else error
    log.warning("%s is passed over, and its requests stay pending: %s", path, reason)


def _batch_output(path: Path, requests: Mapping[str, Request], table: ModelTable) -> Iterator[tuple[str, Kept]]:
    """Yield the replies in a file of batch output.

    Raises:
        ValueError: the file is no plain file, is too large, or has a line that is too long.
        OSError: the file cannot be read.
    """
    bad = 0
    no_json: list[int] = []
    with artifact.plain_file(path, MOST_BATCH_BYTES) as file:
        for number, content in enumerate(_lines(file), 1):
            try:
                line = _text(content)
                if not line.strip():
                    continue
                digest, body = _read_line(json.loads(line))
                if digest in requests:
                    request = requests[digest]
                    yield digest, outcome_of_any(body, request, table.model(request.model))
            except json.JSONDecodeError:
                no_json.append(number)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                bad += 1
                if bad <= MOST_WARNINGS:
                    log.warning("%s:%d is no usable reply and stays pending: %s", path, number, error)
    if no_json:
        more = f" and {len(no_json) - 1} more lines are" if no_json[1:] else " is"
        what = "no JSON, and their requests stay pending: a batch's output has one whole JSON object per line"
        log.warning("%s:%d%s %s", path, no_json[0], more, what)
    if bad > MOST_WARNINGS:
        log.warning("%s: %d more lines are no usable replies", path, bad - MOST_WARNINGS)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file, of which only `\\n` ends one.

    Raises:
        ValueError: a line is too long.
    """
    while line := file.readline(MOST_TEXT_BYTES + 1):
        if len(line) > MOST_TEXT_BYTES:
            raise ValueError(f"a line is longer than {MOST_TEXT_BYTES >> 20} MiB")
        yield line


def _read_line(line: Json) -> tuple[str, Json]:
    """Return the request's digest and the reply's body of a line of batch output, in the format of any provider.

    Raises:
        ValueError: the line reports an error, or is in no provider's format.
    """
    families = {provider.family: provider for provider in all_providers() if provider.has_batches}
    for provider in families.values():
        try:
            return provider.read_batch_line(line)
        except (KeyError, TypeError, AttributeError):
            continue
    raise ValueError("no line of a batch's output")
