import pytest

from kopt.report.render import render
from tests.report.made_up_run import made_up_record
from tests.report.pages import HOSTILE, asked, hostile


@pytest.fixture(scope="session")
def record():
    return made_up_record()


@pytest.fixture(scope="session")
def small():
    return made_up_record(rounds=1, slots=6, width=2)


@pytest.fixture(scope="session")
def page(record):
    return render(record)


@pytest.fixture(scope="session")
def told(record):
    return render(asked(record))


@pytest.fixture(scope="session")
def hostile_page(record):
    return render(asked(hostile(record), HOSTILE))
