"""Started by `bench/scale.py` with overrides: makes a plan and prints the seconds that took, imports left out."""

import sys
import time

from editbench.config import load as config
from editbench.plan import ensure_plan
from editbench.run.folder import RunDir

settings = config.load(sys.argv[3:], sys.argv[2])
began = time.perf_counter()
ensure_plan(settings, RunDir(settings.run_dir))
print(time.perf_counter() - began)
