"""Print the table of faults and of hostile input: what happens, and whether the test that shows it passes here.

python benchmarks/faults.py            # runs the tests of all rows (1 min) and prints the two tables
python benchmarks/faults.py --table    # prints the tables for docs/faults.md, and runs nothing
python benchmarks/faults.py --disks    # searches on full disks for real: small file systems in memory, as root (5 min)
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CANDIDATES, INPUT, ENDINGS = (f"tests/faults/test_{name}.py" for name in ("candidates", "hostile_input", "endings"))
DISKS, REPLAY, SEARCHES = (
    "tests/faults/test_full_disks.py", "tests/faults/test_confined_replay.py", "tests/workflow/test_endings.py",
)  # fmt: skip

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("disk full: store, run, ledger", "one line names the file; no half file stays; the same command goes on",
     f"{DISKS}::test_a_full_disk_is_one_line_that_names_the_file_and_leaves_no_half_of_one"),
    ("disk full: ledger", "one line", f"{DISKS}::test_a_ledger_on_a_full_disk_is_one_line"),
    ("disk full: logs", "the job goes on without its log", f"{DISKS}::test_a_full_disk_under_a_log_ends_no_job"),
    ("disk full: a candidate's folder", "the candidate fails",
     f"{DISKS}::test_a_full_disk_under_a_candidate_is_its_own_failure"),
    ("disk full: `.snakemake`", "one line", f"{ENDINGS}::test_a_failure_of_snakemake_is_one_line_that_says_what_to_do"),
    ("store may only be read", "what it has is used; what it lacks is one line",
     f"{DISKS}::test_a_store_that_may_only_be_read_gives_what_it_has_and_says_what_it_cannot"),
    ("store file empty, torn, altered, deep (200 000 brackets), of another kind, a folder, a pipe, a link",
     "set aside in `corrupt/`, made again",
     f"{DISKS}::test_what_lies_in_the_place_of_an_item_is_set_aside_and_the_item_made_again"),
    ("`corrupt`, `locks` or a kind is a file", "one line names it",
     f"{DISKS}::test_a_file_where_the_store_has_a_folder_is_named"),
    ("the clock is set back, files are dated in the future", "dated now, with a note; nothing runs again",
     f"{ENDINGS}::test_a_file_dated_in_the_future_is_dated_now_and_a_dry_run_leaves_it"),
    ("the clock is set back while a search runs", "one line; the same command goes on",
     f"{ENDINGS}::test_a_failure_of_snakemake_is_one_line_that_says_what_to_do"),
    ("home folder cannot be written", "caches go to a temporary folder, with a note",
     f"{ENDINGS}::test_caches_go_elsewhere_where_the_home_cannot_be_written"),
    ("the same run started twice", "the second is refused in one line, before anything is checked",
     f"{ENDINGS}::test_a_locked_run_is_refused_but_for_a_look_and_the_unlocking"),
    ("`--config` forgotten", "one line, before anything is checked",
     f"{ENDINGS}::test_a_forgotten_config_is_noticed_before_anything_is_checked"),
    ("`--configfile` missing, no cores, no such target, anything else that Snakemake refuses",
     "one line: what, and what to do",
     f"{ENDINGS}::test_a_failure_of_snakemake_is_one_line_that_says_what_to_do"),
    ("a rule fails", "one line names rule and log",
     f"{SEARCHES}::test_a_rule_that_fails_is_named_with_its_log_and_what_to_do"),
    ("a job is killed", "one line says so", f"{ENDINGS}::test_a_job_that_was_killed_is_told_as_such"),
    ("Ctrl-C", "one line; the same command goes on",
     f"{SEARCHES}::test_ctrl_c_is_one_line_and_the_same_command_goes_on"),
    ("names `007`, `3.10`, `1_000`, `on`, `null`", "stay what was typed", f"{INPUT}::test_a_name_is_what_was_typed"),
    ("`--dry-run`", "ten lines at most", f"{ENDINGS}::test_a_dry_run_is_ten_lines_at_most"),
    ("a candidate raises an exception with a name of kopt's own", "the candidate fails",
     f"{CANDIDATES}::test_an_exception_that_a_candidate_names_like_one_of_ours_is_its_own_failure"),
    ("a candidate takes memory: private, shared, in many processes", "killed at one limit over all",
     f"{CANDIDATES}::test_memory_is_limited_over_all_kinds_and_processes"),
    ("a candidate leaves System V segments, queues, semaphores", "refused",
     f"{CANDIDATES}::test_nothing_of_system_v_is_made_that_could_outlive_a_candidate"),
    ("a candidate makes files in memory", "refused", f"{CANDIDATES}::test_a_file_in_memory_is_refused"),
    ("a candidate fills its folder: bytes, files, folders", "killed at the limit",
     f"{CANDIDATES}::test_a_scratch_folder_is_limited"),
    ("a candidate leaves folders too deep for a path", "counted and removed",
     f"{CANDIDATES}::test_folders_too_deep_for_a_path_are_counted_and_removed"),
)  # fmt: skip
"""Fault, what happens, and the test that shows it."""

HOSTILE: tuple[tuple[str, str, str], ...] = (
    ("archive with absolute names, `..`, folders, links, pipes, devices, sparse files, names that stand twice, deep "
     "JSON, huge numbers, terminal sequences", "refused whole in one line; nothing is written",
     f"{INPUT}::test_an_archive_is_refused_whole_in_one_line"),
    ("archive of gigabytes", "refused by the heads of its files",
     f"{INPUT}::test_an_archive_of_more_bytes_than_any_run_is_refused_by_its_heads_alone"),
    ("archive whose run, problem files or settings lead elsewhere", "refused before anything is written",
     f"{INPUT}::test_a_recording_that_would_write_elsewhere_is_refused_before_anything_is_written"),
    ("archive whose problem is hostile code", "announced; runs in the cage: own folders, no network, no keys",
     f"{REPLAY}::test_what_an_archive_runs_is_announced_and_confined"),
    ("replay folder that is a link", "refused", f"{REPLAY}::test_a_folder_that_leads_elsewhere_is_refused"),
    ("exchange folder with folders, links, pipes, huge or deep files", "refused file by file; the others are read",
     f"{INPUT}::test_a_bad_file_in_an_exchange_folder_is_named_and_the_others_are_read"),
    ("YAML: bomb, recursive, deep, objects of Python", "one line", f"{INPUT}::test_yaml_that_is_a_trap_is_one_line"),
    ("YAML that is a pipe or huge", "one line",
     f"{INPUT}::test_a_file_of_yaml_that_is_no_file_or_too_large_is_refused"),
    ("control characters (terminal sequences, C1, bidirectional marks) in names, errors, replies",
     "written visibly on terminals and in logs", f"{INPUT}::test_foreign_text_in_an_error_reaches_a_terminal_neutral"),
    ("the same on the page of the report", "written visibly", "tests/report/test_report_page.py"),
    ("words of candidates and models that instruct the next model", "fenced, and marked as data in every prompt",
     f"{INPUT}::test_words_of_candidates_reach_a_prompt_fenced_and_marked"),
    ("candidate reads problems, runs, the home folder, other processes, its own memory file", "refused",
     f"{CANDIDATES}::test_a_candidate_reads_no_problem_no_home_and_no_other_process"),
    ("candidate reads other candidates' folders", "refused",
     f"{CANDIDATES}::test_the_folders_of_other_candidates_are_not_read"),
    ("candidate looks for hidden workloads in its process", "they are not handed to it",
     f"{CANDIDATES}::test_a_process_with_a_candidate_holds_no_hidden_workload"),
    ("candidate reads the arguments and the environment of its process", "erased",
     f"{CANDIDATES}::test_arguments_and_environment_are_gone"),
)  # fmt: skip
"""Input, what happens, and the test that shows it."""


def tables(results: Mapping[str, str] | None = None) -> str:
    """Write the two tables as Markdown, with the results of the tests where they are known."""
    return "\n\n".join(_table(first, rows, results) for first, rows in (("fault", FAULTS), ("hostile input", HOSTILE)))


def _table(first: str, rows: Sequence[tuple[str, str, str]], results: Mapping[str, str] | None) -> str:
    head = [first, "what happens", "test", *(["here"] if results is not None else [])]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for what, happens, test in rows:
        shown = test.replace("tests/", "").replace("::", " ")
        lines.append(
            f"| {' | '.join([what, happens, f'`{shown}`', *([results[test]] if results is not None else [])])} |"
        )
    return "\n".join(lines)


def run_tests() -> dict[str, str]:
    """Run the tests of all rows; return `passed`, `skipped` or `FAILED` by test."""
    tests = list(dict.fromkeys(test for *_, test in (*FAULTS, *HOSTILE)))
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-q", "-rA", *tests]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    found = re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) (\S+?)(?:\[.*\])?(?: - .*)?$", output, re.M)
    results = {}
    for test in tests:
        words = [word for word, name in found if name == test or name.startswith(f"{test}::")]
        results[test] = "FAILED" if {"FAILED", "ERROR"} & {*words} else "passed" if "PASSED" in words else "skipped"
    return results


SEARCH = ("problem=softmax", "run=t", "rounds=1", "max_repairs=0", "models=[kopt-echo]", "judge=dry")


def on_full_disks() -> None:
    """Search with one folder on a file system that is too small; enlarge it, and go on by the same command."""
    for place, size in (("results", "100k"), ("results/store", "8k"), (".snakemake", "16k"), ("tmp", "4k")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for part in ("Snakefile", "kopt", "workflow", "profiles", "config", "snakemake_logger_plugin_kopt"):
                (folder / part).symlink_to(ROOT / part)
            (folder / place).mkdir(parents=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder / place], check=True)
            try:
                full = _search(folder)
                subprocess.run(["mount", "-o", "remount,size=256m", folder / place], check=True)
                again = _search(folder)
            finally:
                subprocess.run(["umount", "-l", folder / place], check=True)
            last = (full.stdout.strip().splitlines() or [""])[-1].replace(name, ".")
            print(f"{place} of {size}: status {full.returncode}: {last}\n  enlarged: status {again.returncode}")


def _search(folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "tmp").mkdir(exist_ok=True)
    snakemake = shutil.which("snakemake") or "snakemake"
    return subprocess.run(
        ["env", f"TMPDIR={folder}/tmp", snakemake, "--cores", "2", "--quiet", "all", "--config", *SEARCH],
        cwd=folder, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the tables, run nothing")
    parser.add_argument("--disks", action="store_true", help="search on full disks (root only)")
    options = parser.parse_args()
    if options.disks:
        on_full_disks()
    else:
        print(tables(None if options.table else run_tests()))


if __name__ == "__main__":
    main()
