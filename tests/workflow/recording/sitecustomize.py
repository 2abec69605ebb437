"""Record which kopt modules each rule's script imports, in the process of the script and in all that it starts.

Python imports this module by itself where its folder is on PYTHONPATH.  KOPT_RECORDED names the folder of the records.
"""

import os
import sys
from pathlib import Path


def record():
    folder = os.environ.get("KOPT_RECORDED")
    if not folder:
        return
    words = Path("/proc/self/cmdline").read_bytes().decode(errors="replace").split("\0")
    scripts = [Path(word).stem for word in words if "workflow/scripts/" in word and word.endswith(".py")]
    if scripts:
        os.environ["KOPT_RECORDED_SCRIPT"] = scripts[0]
    script = os.environ.get("KOPT_RECORDED_SCRIPT")
    if not script:
        return
    file = os.open(Path(folder, script), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def on_import(event, arguments):
        if event == "import" and str(arguments[0]).split(".")[0] == "kopt":
            os.write(file, f"{arguments[0]}\n".encode())

    sys.addaudithook(on_import)


record()
