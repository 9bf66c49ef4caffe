"""OpenMedQ: broad open pretraining for medical vision-language models, from published files to scores."""

import os

from openmedq.silence import silence

silence()

# Threads that spin while they wait starve those that they wait for: where cores are shared with other processes, torch
# was measured 20 times slower than on one thread. OpenMP reads this when it is loaded, so it is said before any import.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
