"""Rule `device`: describe and measure the GPU of this run."""

from kopt.artifact import write_value
from kopt.backends.backend import load_backend
from kopt.jobs.command import Job, run
from kopt.stages.device import DeviceSettings, device_line


def main(job: Job) -> None:
    settings = job.settings(DeviceSettings)
    backend = load_backend(settings.backend)
    device = backend.device(job.store, settings.gpu_wait_seconds)
    write_value(job.path("device"), device)
    print(device_line(device, replays=backend.replays))


run(main)
