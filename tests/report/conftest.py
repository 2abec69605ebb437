import pytest

from tests.report.made_up_run import made_up_record


@pytest.fixture(scope="session")
def record():
    return made_up_record()
