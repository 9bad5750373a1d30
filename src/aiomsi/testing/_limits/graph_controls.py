"""`EmbeddedGraph`: the controls of the embedded Resource Graph."""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmState


class EmbeddedGraph:
    """The embedded Resource Graph, a part of ARM: `EmbeddedArm.graph`; thread-safe."""

    def __init__(self, state: ArmState) -> None:
        self._state = state

    def limit_payload(self, most_bytes: int) -> None:
        """Set the most bytes of a page's rows; Resource Graph rejects a larger page.

        The error is ``ResponsePayloadTooLarge``; the limit is 16 MiB by default.
        """
        self._state.graph_faults.most_bytes = most_bytes

    def make_pages_unstable(self, unstable: bool = True) -> None:
        """Make each further page of an unsorted query repeat a row, and so miss another one.

        The repeated row is the last one of the page before.
        """
        self._state.graph_faults.unstable = unstable

    def hold_back_rows(self, number: int) -> None:
        """Omit a query's last rows from all pages.

        ``totalRecords`` still counts them, and the last page has no skip token.
        """
        self._state.graph_faults.held_back = number

    def use_up_quota(self, seconds: float) -> None:
        """Set each principal's quota so that it allows one more query in the next `seconds`.

        Further queries get 429 if limits are enforced.
        """
        self._state.graph_faults.quota_ends = self._state.monotonic() + seconds
        self._state.graph_quotas.clear()
