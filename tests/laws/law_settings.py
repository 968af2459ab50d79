"""How often a law is tried: ten thousand times where money is made or lost, else five hundred.

A law over several subscriptions that are billed many times is tried less often. No example has a
deadline, because a shared machine may be slow at any moment; a failure prints the blob that
reproduces it.
"""

from hypothesis import HealthCheck, settings

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]

MONEY = settings(max_examples=10_000, deadline=None, print_blob=True, suppress_health_check=QUIET)
LAW = settings(max_examples=500, deadline=None, print_blob=True, suppress_health_check=QUIET)
STORY = settings(max_examples=150, deadline=None, print_blob=True, suppress_health_check=QUIET)
