"""Every recorded list, followed by its exact links to its end."""

import json

from recorded.checks import count_case
from recorded.sequences import Step, find_cloud, needs_recordings, normalize_url, read_sequences

from aiomsi._arm.protocol.graph_queries import make_next_query, read_rows
from aiomsi._arm.protocol.paging import PageLinks, read_page

pytestmark = needs_recordings


def walk(steps: tuple[Step, ...]) -> None:
    """Follow one chain; a page may be empty and have a next link."""
    first = steps[0].response
    chain = PageLinks(find_cloud(steps), first.url if first.method == "GET" else None)
    following, items, expected = None, 0, 0
    for number, step in enumerate(steps):
        assert number == 0 or (
            following is not None and normalize_url(following) == normalize_url(step.response.url)
        ), step
        document = json.loads(step.response.body)
        page = read_page(step.response)
        items += len(page.items)
        expected += len(document["value"])
        following = chain.next_url(page, step.response)
        # Only a space can't be sent.
        assert (following or "") == (document.get("nextLink") or "").replace(" ", "%20"), step
    assert items == expected


def test_chain_is_followed_by_exact_links_and_yields_all_items() -> None:
    walked = 0
    for steps in read_sequences("paging"):
        with count_case(3, steps[0].sequence):
            walk(steps)
        walked += 1
    assert walked


def test_every_answer_of_a_query_is_read() -> None:
    for steps in read_sequences("resource_graph"):
        for step in steps:
            if step.response.status != 200:
                continue
            page = read_rows(step.response)
            assert len(page.items) == json.loads(step.response.body)["count"], step
            token = PageLinks(find_cloud(steps)).next_token(page, step.response)
            if token is not None:
                body = make_next_query(json.loads(step.request_body or "{}"), token)
                assert body["options"]["$skipToken"] == token
                assert "$skip" not in body["options"]
