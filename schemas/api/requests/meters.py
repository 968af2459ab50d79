"""Requests about meters; how one is made is in `schemas.meter`, as features make them too."""

from schemas.api.searching import ApiSearch


class MetersQuery(ApiSearch):
    """What the list of meters is asked, all of it in the query."""
