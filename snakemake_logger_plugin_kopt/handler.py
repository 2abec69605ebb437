"""Take the events of Snakemake, and write kopt's lines about them to the terminal."""

import logging
import os
import sys
from dataclasses import dataclass, field
from types import TracebackType

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from kopt.neutral import NeutralStream, one_line, visible
from snakemake_logger_plugin_kopt.caches import caches_elsewhere
from snakemake_logger_plugin_kopt.ending import JobFault, Seen, ending
from snakemake_logger_plugin_kopt.live import LiveLine, begun
from snakemake_logger_plugin_kopt.plan import plan
from snakemake_logger_plugin_kopt.result import told

STOPPED = "Terminating processes on user request"
NOTHING = "Nothing to be done"
"""Begins of messages for which Snakemake has no event."""
RUNS_NOTHING = (
    "--list", "-l", "--list-rules", "--list-target-rules", "--lint", "--summary", "-S", "--detailed-summary", "-D",
    "--list-changes", "--list-input-changes", "--list-params-changes", "--list-untracked", "--report", "--archive",
    "--print-compilation", "--containerize", "--unlock", "--cleanup-metadata", "--delete-all-output",
    "--delete-temp-output",
)  # fmt: skip
"""Words of command lines that ask Snakemake for something else than a run: then it answers itself."""


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Options of the plugin on Snakemake's command line, as `--logger-kopt-full`."""

    full: bool = field(
        default=False, metadata={"help": "Show all that Snakemake says about rules and jobs.", "required": False}
    )


class LogHandler(LogHandlerBase):
    """Writes a line for what a user must know, and at the end one line that says what went wrong and what to do.

    With `--logger-kopt-full`, `--verbose`, `--printshellcmds`, `--debug-dag` or `--show-failed-logs`, and for commands
    that run nothing, Snakemake's own messages are written as well.
    """

    def __post_init__(self) -> None:
        """Prepare for the first event; called by Snakemake's base class."""
        common = self.common_settings
        self._seen = Seen()
        self._jobs: dict[str, int] = {}
        self._reasons: list[tuple[str, str]] = []
        self._closed = self._planned = False
        self._live: LiveLine | None = None
        self._stream = NeutralStream(sys.stdout if common.dryrun else sys.stderr)
        chosen = isinstance(self.settings, LogHandlerSettings) and self.settings.full
        verbose = common.verbose or common.printshellcmds or common.debug_dag or common.show_failed_logs
        self._full = _snakemakes_handler(self) if chosen or verbose or _runs_nothing(sys.argv) else None
        sys.excepthook = _unless_stopped
        self._caches = caches_elsewhere(os.environ)
        if self._caches is not None:
            self._say(f"kopt: note: the home folder cannot be written; caches go to {self._caches.name}")

    @property
    def writes_to_stream(self) -> bool:
        """Tell Snakemake not to write to the terminal itself."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Leave Snakemake's log file to Snakemake."""
        return False

    @property
    def has_filter(self) -> bool:
        """Get every event, also with `--quiet all`."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Need no formatter."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Need no graph of the rules."""
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Take one event."""
        try:
            self._take(record)
            if self._full is not None:
                self._full.handle(record)
        except BrokenPipeError:
            raise
        except Exception:  # noqa: BLE001 - an event that cannot be told must not end a search
            self.handleError(record)

    def close(self) -> None:
        """Write the lines of the end; called by Snakemake when a run is over."""
        if not self._closed:
            self._closed = True
            if self._live is not None:
                self._live.end()
            if isinstance(sys.exc_info()[1], KeyboardInterrupt):
                self._seen.stopped = True
            if self._planned and not self._seen.errors and self._full is None:
                self._say("\n".join(plan(self._jobs, self._reasons)))
            if line := ending(self._seen):
                self._say(line)
            if self._caches is not None:
                self._caches.cleanup()
        super().close()

    def _take(self, record: logging.LogRecord) -> None:
        event, text = getattr(record, "event", None), record.getMessage()
        if self._live is None and self._full is None and event == LogEvent.JOB_STARTED:
            self._live = begun()
        if event == LogEvent.ERROR:
            self._seen.errors.append((getattr(record, "exception", "") or "", text))
        elif event == LogEvent.JOB_ERROR:
            log = [str(path) for path in getattr(record, "log", None) or []]
            remote = bool(getattr(record, "aux", None))
            self._seen.faults.append(JobFault(getattr(record, "rule_name", "?"), log[0] if log else "", remote))
        elif event == LogEvent.RUN_INFO:
            self._jobs, self._planned = dict(getattr(record, "stats", None) or {}), self.common_settings.dryrun
        elif event == LogEvent.JOB_INFO:
            self._reasons.append((getattr(record, "rule_name", "?"), str(getattr(record, "reason", "") or "")))
        elif event is None:
            self._take_message(record.levelno, text)

    def _take_message(self, level: int, text: str) -> None:
        """Take a message without an event."""
        if text.startswith(STOPPED):
            self._seen.stopped = True
        elif text.startswith(NOTHING):
            if self._full is None and not self.common_settings.dryrun:
                lines = told()
                end = "; its result:" if lines else ""
                self._say("\n".join([f"kopt: nothing to do: every file of the run is up to date{end}", *lines]))
            self._planned = self.common_settings.dryrun
        elif level >= logging.ERROR:
            self._seen.others.append(text)
        elif level >= logging.WARNING and self._full is None:
            self._say(f"kopt: note: {one_line(text, 400)}")

    def _say(self, text: str) -> None:
        if self._live is not None:
            self._live.write(visible(f"{text}\n"))
        else:
            self._stream.write(f"{text}\n")
            self._stream.flush()  # type: ignore[operator]  # an attribute of the stream that is wrapped


def _snakemakes_handler(handler: LogHandlerBase) -> logging.Handler:
    """Make the handler that Snakemake would use without this plugin."""
    from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

    common = handler.common_settings
    own: logging.Handler = ColorizingTextHandler(
        nocolor=True,  # colours are control characters
        stream=NeutralStream(sys.stdout if common.dryrun else sys.stderr),
        formatter=DefaultFormatter(common.quiet, common.show_failed_logs),
    )
    own.addFilter(DefaultFilter(common.quiet, common.debug_dag, common.verbose, common.dryrun, common.printshellcmds))
    return own


def _runs_nothing(words: list[str]) -> bool:
    return any(word.partition("=")[0] in RUNS_NOTHING for word in words)


def _unless_stopped(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of an error that nobody caught, and nothing after Ctrl-C, which has its own line."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
