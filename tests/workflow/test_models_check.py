"""Language models that cannot be asked end a search before any of its other jobs begins."""

import pytest
from local_models import KEYS, SMALL, write_models

from kopt.run.so_far import read_so_far
from kopt.run.started import STARTED, WORKING
from kopt.run.status import status_of

NOBODY = 1
"""A port at which nothing listens."""

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("language")]


def test_an_unreachable_server_ends_the_run_and_nothing_else_has_run(project, monkeypatch):
    for variable, key in KEYS.items():
        monkeypatch.setenv(variable, key)
    write_models(project.folder, NOBODY)
    done = project.run(*SMALL, "judge=dry", "models=[gpt-local]")
    assert done.returncode != 0
    reason, ending = [line for line in done.stdout.splitlines() if line.startswith("kopt: error: ")]
    assert "gpt-local" in reason
    assert f":{NOBODY}" in reason
    assert "stopped in rule models" in ending
    assert [path.name for path in project.file("logs").iterdir()] == ["models.log"]
    own = {STARTED, WORKING}  # written at the start of every run
    assert not [f for f in project.file("").rglob("*") if f.is_file() and f.suffix != ".log" and f.name not in own]
    status = status_of(read_so_far(project.file("")))
    assert (status.state, status.phase) == ("failed", "problem")
    assert "gpt-local" in status.error
