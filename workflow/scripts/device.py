"""Rule device: the GPU of this run, described and measured."""

from kopt.artifact import write_value
from kopt.jobs.command import Job, run
from kopt.jobs.on_gpu import described


def main(job: Job) -> None:
    device = described(job.store, wait_s=job.settings.limits.gpu_wait_seconds).device
    write_value(job.path("device"), device)
    rates = ", ".join(f"{name} {rate:g}" for name, rate in device.matmul_tflop_s.items())
    print(f"{device.name}: {device.copy_gb_s:g} GB/s, matrix products at {rates} TFLOP/s, measured")


run(main)
