"""The api-versions that the embedded Azure accepts, newest first.

Sources: https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service (IMDS); for
ARM the list in its error InvalidApiVersionParameter, with the newer versions of
https://learn.microsoft.com/rest/api/resources.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime

_DATED = re.compile(r"(\d{4}-\d\d-\d\d)(-[a-z][a-z0-9.]*)?", re.IGNORECASE)

IMDS_VERSIONS = (
    "2025-04-07",
    "2024-07-17",
    "2024-03-15",
    "2023-11-15",
    "2023-07-01",
    "2021-12-13",
    "2021-11-15",
    "2021-11-01",
    "2021-10-01",
    "2021-05-01",
    "2021-03-01",
    "2021-02-01",
    "2021-01-01",
    "2020-12-01",
    "2020-10-01",
    "2020-09-01",
    "2020-07-15",
    "2020-06-01",
    "2019-11-01",
    "2019-08-15",
    "2019-08-01",
    "2019-06-04",
    "2019-06-01",
    "2019-04-30",
    "2019-03-11",
    "2019-02-01",
    "2018-10-01",
    "2018-04-02",
    "2018-02-01",
)
"""Versions of the Instance Metadata Service, from the first one that has identities."""

INSTANCE_VERSIONS = (
    *IMDS_VERSIONS,
    "2017-12-01",
    "2017-10-01",
    "2017-08-01",
    "2017-04-02",
    "2017-03-01",
)
"""Versions of the document of the instance."""

ARM_VERSIONS = (
    "2025-04-01",
    "2025-03-01",
    "2024-11-01",
    "2024-07-01",
    "2024-03-01",
    "2023-07-01",
    "2022-12-01",
    "2022-09-01",
    "2022-05-01",
    "2022-03-01-preview",
    "2022-01-01",
    "2021-04-01",
    "2021-01-01",
    "2020-10-01",
    "2020-09-01",
    "2020-08-01",
    "2020-07-01",
    "2020-06-01",
    "2020-05-01",
    "2020-01-01",
    "2019-11-01",
    "2019-10-01",
    "2019-09-01",
    "2019-08-01",
    "2019-07-01",
    "2019-06-01",
    "2019-05-10",
    "2019-05-01",
    "2019-03-01",
    "2018-11-01",
    "2018-09-01",
    "2018-08-01",
    "2018-07-01",
    "2018-06-01",
    "2018-05-01",
    "2018-02-01",
    "2018-01-01",
    "2017-12-01",
    "2017-08-01",
    "2017-06-01",
    "2017-05-10",
    "2017-05-01",
    "2017-03-01",
    "2016-09-01",
    "2016-07-01",
    "2016-06-01",
    "2016-02-01",
    "2015-11-01",
    "2015-01-01",
    "2014-04-01-preview",
    "2014-04-01",
    "2014-01-01",
    "2013-03-01",
    "2014-02-26",
    "2014-04",
)
"""Versions of ARM's built-in types; resource providers have others."""


def is_plausible_version(version: str, known: Iterable[str], now: float) -> bool:
    """Return whether a service with the known versions may have this one too.

    Its date is neither before that of the oldest known version nor after the day of `now`, in
    seconds since the epoch.
    """
    given = _parse_date(version)
    oldest = min(filter(None, map(_parse_date, known)), default=None)
    if given is None or oldest is None:
        return False
    return oldest <= given <= datetime.fromtimestamp(now, UTC).date()


def _parse_date(version: str) -> date | None:
    """Return the date of a version; None if the version is not well-formed."""
    found = _DATED.fullmatch(version)
    if found is None:
        return None
    try:
        return date.fromisoformat(found[1])
    except ValueError:
        return None
