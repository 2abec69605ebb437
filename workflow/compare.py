"""Rule `compare`: compare the searches of a comparison."""

from kopt.artifact import write_text, write_value
from kopt.comparison.entrant import entrants
from kopt.comparison.lines import comparison_lines
from kopt.comparison.page import render_comparison
from kopt.comparison.standings import compare
from kopt.jobs.command import Job, run


def main(job: Job) -> None:
    comparison = compare(entrants(job.paths("runs")), job.text("name"))
    write_text(job.path("page"), render_comparison(comparison))
    write_value(job.path("answer"), comparison)
    print("\n".join(comparison_lines(comparison)))


run(main)
