"""A run does not depend on where it lies: moved, or used by another interpreter, nothing runs again."""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("dag")]


@pytest.fixture
def other_environment(tmp_path):
    """Another virtual environment with the same packages: its interpreter lies elsewhere."""
    folder = tmp_path / "another place" / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    (packages / "same.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python"


def copy(source: Path, target: Path, *, keep_dates: bool) -> None:
    """Copy a project with its results and Snakemake's records; without dates, every file is as new as its copy."""
    old = set() if keep_dates else {"__pycache__"}  # of no use beside new dates
    files = sorted(path for path in source.rglob("*") if path.is_file() and old.isdisjoint(path.parts))
    for path in files:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copy2 if keep_dates else shutil.copyfile)(path, place)
        if not keep_dates and path.suffix == ".json":
            time.sleep(0.002)  # so that inputs become newer than outputs, as in a copy over a network


def output_of(command: list[str], folder: Path) -> str:
    """Run a command that must succeed, in the environment of a user who has not been told where kopt lies."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("keep_dates", [True, False], ids=["dates", "no-dates"])
def test_a_moved_run_has_nothing_to_do(tmp_path, finished, other_environment, keep_dates):
    moved = tmp_path / "moved"
    copy(finished.folder, moved, keep_dates=keep_dates)
    snakemake = [str(other_environment), "-m", "snakemake", "--cores", "2"]
    assert "nothing would run" in output_of([*snakemake, "--dry-run", "--config", *finished.FAST, *finished.DRY], moved)
    edit = moved / "kopt" / "exports" / "best.py"
    edit.write_text(edit.read_text().replace("write_text(path, ", 'write_text(path, "# moved\\n" + '))
    output_of([*snakemake, "--config", *finished.FAST, *finished.DRY], moved)
    assert (moved / "results/t/best_kernel.py").read_text().startswith("# moved\n"), (
        "another kopt than the moved one ran"
    )


def test_a_checkout_elsewhere_has_nothing_to_do_in_the_folder_of_the_run(new_project, tmp_path):
    """The run lies in one folder, the checkout in another, which is moved."""
    (tmp_path / "first").mkdir()
    checkout = new_project(tmp_path / "first")
    runs = tmp_path / "runs"
    runs.mkdir()

    few = ("rounds=1", "max_repairs=0", "candidate_pool_size=1", "num_bottlenecks=1")

    def snakemake(folder: Path, *options: str) -> str:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(folder / "Snakefile"), "--cores", "2"]
        return output_of([*command, *options, "--config", *checkout.FAST, *checkout.DRY, *few], runs)

    snakemake(checkout.folder)
    checkout.folder.rename(tmp_path / "second")
    assert "nothing would run" in snakemake(tmp_path / "second", "--dry-run")
