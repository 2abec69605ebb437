"""The logger plugin: how a run of Snakemake ends in one line, and what a dry run would run (docs/faults.md)."""

import dataclasses
import logging
import os
import sys
import time
from pathlib import Path

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.tests import MockOutputSettings

from kopt.errors import ConfigError
from kopt.preflight.start import TYPED, begin, check_words
from snakemake_logger_plugin_kopt import LogHandler, LogHandlerSettings
from snakemake_logger_plugin_kopt.caches import caches_elsewhere
from snakemake_logger_plugin_kopt.ending import JobFault, Seen, ending
from snakemake_logger_plugin_kopt.plan import MOST_LINES, plan


@pytest.fixture
def handler(monkeypatch):
    """Make a handler; `quiet` and the like are as on Snakemake's command line."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "argv", ["snakemake"])

    def make(full=False, **common):
        settings = MockOutputSettings()
        settings.printshellcmds = settings.show_failed_logs = False
        vars(settings).update(common)
        return LogHandler(common_settings=settings, settings=LogHandlerSettings(full=full))

    return make


def tell(handler, event, text="", level=logging.INFO, **more):
    record = logging.LogRecord("snakemake", level, "", 1, text, (), None)
    vars(record).update({"event": event} | more)
    handler.emit(record)


def said(handler, capsys):
    handler.close()
    handler.close()  # Snakemake and the interpreter both do
    out, err = capsys.readouterr()
    return (out + err).splitlines()


CHATTER = [
    (LogEvent.WORKFLOW_STARTED, "SNAKEMAKE"), (LogEvent.RESOURCES_INFO, "Provided cores: 2"),
    (LogEvent.JOB_INFO, "rule x"), (LogEvent.SHELLCMD, "cat"), (LogEvent.JOB_FINISHED, "Finished"),
    (LogEvent.PROGRESS, "1 of 2"), (None, "Building DAG of jobs..."), (None, "Complete log(s): x"),
]  # fmt: skip


@pytest.mark.parametrize("quiet", [None, {"all"}], ids=["plain", "quiet"])
def test_a_run_that_goes_well_is_told_by_its_jobs_alone(handler, capsys, quiet):
    one = handler(quiet=quiet)
    for event, text in CHATTER:
        tell(one, event, text, done=1, total=2, rule_name="x", reason="r")
    assert said(one, capsys) == []


ERRORS = {
    "no such file or setting": ("MissingRuleException", "No rule to produce softmax (if ...)", "belong after --config"),
    "locked": ("LockException", "Error: Directory cannot be locked.", "--unlock"),
    "no configfile": ("FileNotFoundError", "Traceback (most recent call last):\n  File x\nFileNotFoundError: [Errno 2] "
                      "No such file or directory: 'nope.yaml'", "No such file or directory: 'nope.yaml'"),
    "home not writable": ("PermissionError", "Traceback\nPermissionError: [Errno 13] Permission denied: '/h/.cache'",
                          "'/h/.cache': change its permissions, or name another folder"),
    "disk full": ("OSError", "Traceback\n...\nOSError: [Errno 28] No space left on device: '.snakemake/x'",
                  "free some space there, then run the same command again"),
    "read-only": ("OSError", "Traceback\n...\nOSError: [Errno 30] Read-only file system: '.snakemake/x'", "read-only"),
    "clock set back": ("WorkflowError", "WorkflowError in rule finish in file \"x\", line 42:\nOutput a.py has older "
                       "modification time (2026-11-29) than input p.json (2030-01-01 00:00:00). This could",
                       "p.json is dated 2030-01-01 00:00:00"),
    "no cores": ("ApiError", "Error: cores have to be specified for local execution (use --cores N)", "--cores N"),
    "anything else": ("WorkflowError", "WorkflowError:\nSomething odd\nhappened.", "Something odd happened"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "line"), ERRORS.values(), ids=ERRORS)
def test_a_failure_of_snakemake_is_one_line_that_says_what_to_do(handler, capsys, kind, text, line):
    one = handler(quiet={"all"})
    tell(one, LogEvent.ERROR, text, logging.ERROR, exception=kind)
    (only,) = said(one, capsys)
    assert only.startswith("kopt: error: ")
    assert line in only


def test_a_job_that_failed_is_named_with_its_log(handler, capsys, tmp_path):
    log = tmp_path / "generate.log"
    log.write_text("...\n2026 ERROR kopt: failed\n2026 INFO kopt: kopt: error: no key: set one\n")
    one = handler(quiet={"all"})
    tell(one, LogEvent.JOB_ERROR, "Error in rule", logging.ERROR, rule_name="generate", log=[str(log)], aux={})
    tell(one, None, "Exiting because a job execution failed.", logging.ERROR)
    tell(one, LogEvent.ERROR, "WorkflowError:\nAt least one job did not complete successfully.", logging.ERROR)
    (only,) = said(one, capsys)
    assert f"the search stopped in rule generate (log: {log}); mend that, then run the same command again" in only


def test_the_reason_of_a_job_that_ran_elsewhere_is_told_too(tmp_path):
    log = tmp_path / "x.log"
    log.write_text("2026 INFO kopt: kopt: error: no \x1b[2Jkey\n")
    line = ending(Seen(faults=[JobFault("generate", str(log), remote=True), JobFault("compile", "", remote=True)]))
    assert "in rule generate and 1 more" in line
    assert ": no key; mend that" in line


def test_a_job_that_was_killed_is_told_as_such(tmp_path):
    assert "or it was killed" in ending(Seen(faults=[JobFault("x", str(tmp_path / "none"), remote=False)]))


def test_ctrl_c_is_one_line(handler, capsys):
    one = handler(quiet={"all"})
    tell(one, None, "Terminating processes on user request, this might take some time.")
    tell(one, LogEvent.JOB_ERROR, "Error in rule", logging.ERROR, rule_name="x", log=[], aux={})
    assert said(one, capsys) == [
        "kopt: stopped by Ctrl-C; finished results are kept, run the same command again to go on"
    ]


def test_ctrl_c_before_the_first_job_is_one_line_too(handler, capsys):
    one = handler()
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        one.close()
        sys.excepthook(type(error), error, None)
    _, err = capsys.readouterr()
    assert err.splitlines() == [
        "kopt: stopped by Ctrl-C; finished results are kept, run the same command again to go on"
    ]


def test_nothing_to_do_is_said(handler, capsys):
    one = handler(quiet={"all"})
    tell(one, None, "Nothing to be done (all requested files are present and up to date).")
    assert said(one, capsys) == ["kopt: nothing to do: every file of the run is up to date"]


@pytest.mark.parametrize(
    ("lines", "said_"),
    [
        (lambda: ["best kernel    r1a0s0", "report         results/t/report.html"],
         ["kopt: nothing to do: every file of the run is up to date; its result:", "best kernel    r1a0s0",
          "report         results/t/report.html"]),
        (lambda: [], ["kopt: nothing to do: every file of the run is up to date"]),
        (lambda: 1 / 0, ["kopt: nothing to do: every file of the run is up to date"]),
    ],
)  # fmt: skip
def test_where_there_is_nothing_to_do_the_result_of_before_is_said(handler, capsys, monkeypatch, lines, said_):
    monkeypatch.setattr("snakemake_logger_plugin_kopt.result._lines", lines)
    one = handler(quiet={"all"})
    tell(one, None, "Nothing to be done (all requested files are present and up to date).")
    assert said(one, capsys) == said_


def test_a_dry_run_is_ten_lines_at_most(handler, capsys):
    one = handler(dryrun=True, quiet={"all"})
    jobs = {f"rule_{n}": n for n in range(60)}
    tell(one, LogEvent.RUN_INFO, "Job stats", stats=jobs | {"all": 1, "total": 1771})
    for n in range(60):
        tell(one, LogEvent.JOB_INFO, rule_name=f"rule_{n}", reason=f"Reason {n % 20}: some/file")
    lines = said(one, capsys)
    assert len(lines) == MOST_LINES
    assert "1770 jobs would run" in lines[0]
    assert "--logger-kopt-full" in lines[-1]


def test_a_dry_run_of_a_finished_run_says_so():
    assert plan({"all": 1, "total": 1}, []) == ["kopt: dry run: nothing would run, every file of the run is up to date"]


@pytest.mark.parametrize("option", [{"full": True}, {"verbose": True}, {"printshellcmds": True}])
def test_snakemakes_own_output_is_there_for_the_asking(handler, capsys, option):
    one = handler(**option)
    tell(one, None, "Building DAG of \x1b[2Jjobs...")
    assert said(one, capsys) == ["Building DAG of jobs..."]


def test_commands_that_run_nothing_are_snakemakes_own(handler, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["snakemake", "--list-rules"])
    one = handler()
    tell(one, None, "select")
    assert said(one, capsys) == ["select"]


def test_caches_go_elsewhere_where_the_home_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    environ: dict[str, str] = {"TRITON_CACHE_DIR": "/set"}
    folder = caches_elsewhere(environ)
    assert environ["TRITON_CACHE_DIR"] == "/set"
    assert environ["XDG_CACHE_HOME"].startswith(folder.name)
    folder.cleanup()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert caches_elsewhere({}) is None


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/t/round_0").mkdir(parents=True)
    (tmp_path / "results/t/round_0/x.json").write_text("")
    return tmp_path / "results/t/round_0/x.json"


def test_a_file_dated_in_the_future_is_dated_now_and_a_dry_run_leaves_it(run_folder):
    os.utime(run_folder, (time.time() + 1e6,) * 2)
    assert "x.json is dated in the future: a run dates them now" in begin("results/t", ["snakemake", "-n"])
    assert "x.json is dated in the future, since a clock was set back" in begin("results/t", ["snakemake"])
    assert run_folder.stat().st_mtime < time.time() + 1
    assert begin("results/t", ["snakemake"]) == ""


def test_a_locked_run_is_refused_but_for_a_look_and_the_unlocking(run_folder):
    Path(".snakemake/locks").mkdir(parents=True)
    Path(".snakemake/locks/0.output.lock").write_text("results/t/round_0/x.json\n")
    with pytest.raises(ConfigError, match="locked"):
        begin("results/t", ["snakemake", "--quiet", "all"])
    for word in ("--unlock", "--dry-run", "-n", "--nolock"):
        assert begin("results/t", ["snakemake", word]) == ""


def test_a_search_that_kopt_run_started_is_unlocked_by_kopt_run(run_folder, monkeypatch):
    monkeypatch.setenv(TYPED, "kopt run softmax --name t --unlock")
    Path(".snakemake/locks").mkdir(parents=True)
    Path(".snakemake/locks/0.output.lock").write_text("results/t/round_0/x.json\n")
    with pytest.raises(ConfigError, match="run `kopt run softmax --name t --unlock`, then this command again"):
        begin("results/t", ["snakemake"])


def test_a_forgotten_config_is_noticed_before_anything_is_checked():
    with pytest.raises(ConfigError, match="problem=softmax stands without --config"):
        check_words(["snakemake", "--cores", "2", "problem=softmax"])
    check_words(["snakemake", "--cores", "2", "--config", "problem=softmax"])
    check_words(["snakemake", "--cores=2", "results/t/x.json"])


def test_options_of_the_plugin_have_no_required_one():
    assert not any(one.metadata.get("required") for one in dataclasses.fields(LogHandlerSettings))
