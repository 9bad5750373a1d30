"""`EmbeddedGraph`: the controls of the embedded Resource Graph."""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmState, LostRows


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

    def hide_subscriptions(self, *subscription_ids: str) -> None:
        """Leave subscriptions out of every query, without an error, in place of earlier ones.

        A query over hidden ones alone gets the same error as one over unreadable ones.
        """
        self._state.graph_faults.hidden = frozenset(one.lower() for one in subscription_ids)

    def lose_rows(self, subscription_id: str, number: int, *, pages: int | None = None) -> None:
        """Omit the last resources of a subscription, except from queries that count.

        ``count`` and ``summarize`` still count them, unlike ``totalRecords``.

        Args:
            subscription_id: id of the subscription.
            number: number of resources without rows; 0 ends it.
            pages: number of responses about the subscription that omit them; None for all.

        """
        self._state.graph_faults.lost[subscription_id.lower()] = LostRows(number, pages)

    def lag_behind(self, seconds: float) -> None:
        """Let a resource that is written to ARM appear only `seconds` after its creation."""
        self._state.graph_faults.lag = seconds

    def expire_skip_tokens(self, seconds: float | None) -> None:
        """Reject a skip token `seconds` after its page; None for never.

        The error's code and lifetime in Azure are not documented.
        """
        self._state.graph_faults.token_seconds = seconds

    def limit_subscriptions(self, number: int) -> None:
        """Set how many subscriptions a query covers that names none.

        Beyond them, the response has ``x-ms-tenant-subscription-limit-hit: true``, and no rows of
        the others. The limit is 10,000 by default.
        """
        self._state.graph_faults.most_subscriptions = number

    def use_up_quota(self, seconds: float) -> None:
        """Set each principal's quota so that it allows one more query in the next `seconds`.

        Further queries get 429 if limits are enforced.
        """
        self._state.graph_faults.quota_ends = self._state.monotonic() + seconds
        self._state.graph_quotas.clear()
