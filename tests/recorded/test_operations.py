"""Every recorded long-running operation, replayed: the same end, and only recorded requests."""

import json
from collections import Counter

from recorded.checks import count_case
from recorded.replay import find_recorded_via, read_elsewhere, replay
from recorded.sequences import Step, find_cloud, needs_recordings, read_sequences

from aiomsi import ForeignHostError
from aiomsi._arm.protocol.links import resolve_link
from aiomsi._arm.protocol.operations.operation_state import Progress
from aiomsi._arm.protocol.operations.polling import begin, make_failure

pytestmark = needs_recordings


def get_end(steps: tuple[Step, ...]) -> str:
    return str(steps[0].line["pattern"]).rpartition("end=")[2]


def list_operations() -> list[tuple[Step, ...]]:
    return list(read_sequences("lro"))


def test_operation_reaches_its_end_with_the_recorded_requests() -> None:
    ends: Counter[str] = Counter()
    elsewhere = []
    for steps in list_operations():
        if (end := get_end(steps)) == "open":
            continue
        if read_elsewhere(steps):
            elsewhere.append(steps[0].sequence)
            continue
        ends[end] += 1
        with count_case(1, steps[0].sequence):
            found = replay(steps, find_recorded_via(steps))
            assert (found.progress.outcome, found.unrecorded) == (end, None), (
                steps[0].line["pattern"],
                found.progress.reads,
            )
    assert ends["succeeded"]
    assert len(elsewhere) < sum(ends.values()) / 20, elsewhere


def test_operation_without_a_definition_differs_in_its_result() -> None:
    for steps in list_operations():
        if get_end(steps) == "open" or read_elsewhere(steps):
            continue
        found = replay(steps, None)
        if found.unrecorded is not None:
            assert found.progress.reads == "result", steps
        else:
            assert found.progress.outcome == get_end(steps), steps


def test_an_operation_without_a_recorded_end_goes_on() -> None:
    for steps in list_operations():
        if get_end(steps) != "open":
            continue
        progress = replay(steps, None).progress
        # A sequence named like an operation may be a resource that existed at once.
        created = (
            steps[0].response.status == 201
            and "Azure-AsyncOperation" not in steps[0].response.headers
        )
        assert progress.next_url is not None or created, steps


def test_no_request_leaves_the_cloud() -> None:
    for steps in list_operations():
        cloud = find_cloud(steps)
        asked = {
            *replay(steps, None).asked,
            *replay(steps, "location").asked,
            *replay(steps, "original-uri").asked,
        }
        with count_case(2, f"operation {steps[0].sequence}"):
            assert all(cloud.is_resource_manager(url) for url in asked)


def test_every_failure_has_the_services_reasons() -> None:
    for steps in list_operations():
        found = replay(steps, None)
        if found.progress.outcome not in ("failed", "canceled"):
            continue
        error = make_failure(found.progress)
        assert error is not None
        said = json.loads(error.response.body)["error"]
        assert error.code == said.get("code"), steps
        assert error.message == (said["message"].strip() or error.message)
        assert error.message


def test_every_state_can_be_saved_and_gone_on_with() -> None:
    for steps in list_operations():
        cloud = find_cloud(steps)
        for progress in (begin(cloud, steps[0].response), replay(steps, None).progress):
            text = json.dumps(progress.to_dict())
            assert Progress.from_dict(cloud, json.loads(text)).to_dict() == progress.to_dict()
            assert not any(part in repr(progress) for part in ("&c=", "&s=", "&h="))


def test_a_location_that_names_no_operation_begins_none() -> None:
    found = 0
    for steps in read_sequences("location_not_lro"):
        for step in steps:
            if step.response.status == 202:
                continue
            found += 1
            assert begin(find_cloud(steps), step.response).outcome == "succeeded", step
    assert found


def test_every_recorded_link_is_on_arm_or_refused() -> None:
    taken = 0
    for name in ("lro", "location_not_lro"):
        for steps in read_sequences(name):
            cloud = find_cloud(steps)
            for step in steps:
                for header in ("Location", "Azure-AsyncOperation", "Operation-Location"):
                    link = step.response.headers.get(header)
                    if link is None:
                        continue
                    with count_case(2, f"{header} at {step.where}"):
                        try:
                            url = resolve_link(cloud, link, step.response.url)
                        except ForeignHostError:
                            assert not cloud.is_resource_manager(link)
                        else:
                            taken += 1
                            assert cloud.is_resource_manager(url)
                            assert not link.startswith("https:") or " " in link or url == link
    assert taken
