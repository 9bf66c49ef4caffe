"""Prefect's side: walks DVC's graph and runs the same commands, with retries, slots, logs and a clock.

No edge and no logic of the pipeline stands here; what a stage does is `openmedq`'s business. Telemetry is switched
off before Prefect is imported anywhere below.
"""

from openmedq.silence import silence

silence()
