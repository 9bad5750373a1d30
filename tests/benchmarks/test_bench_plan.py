"""The plan: the cells of each round, their order, and the plans of all scenarios."""

import itertools
from pathlib import Path

import pytest
from cells import Cell, Metric
from clients import CLIENTS
from plan import Block, Scenario, Variant, schedule, takes_part
from scenarios import SCENARIOS
from server import make_parser


def make_scenario(*blocks: Block) -> Scenario:
    return Scenario(
        name="some",
        title="",
        size_is="",
        variants={"v": Variant()},
        full=blocks,
        quick=blocks,
        metrics=(Metric("n", "n"),),
        measure=lambda _, __: None,  # type: ignore[arg-type, return-value]
    )


def test_what_has_fewer_rounds_is_spread_over_all_of_them() -> None:
    assert [number for number in range(1, 16) if takes_part(number, 15, 4)] == [4, 8, 12, 15]
    assert all(takes_part(number, 3, most) for number in (1, 2, 3) for most in (None, 3, 7))


def test_rounds_have_all_cells_and_the_warm_up_the_least_size() -> None:
    block = Block("v", (1, 10), ("aiomsi", "other"))
    planned = [
        (number, cell)
        for number, (cell,) in schedule([make_scenario(block)], 3, seed=1, quick=False)
    ]
    everything = {
        Cell("some", "v", size, client) for size in (1, 10) for client in ("aiomsi", "other")
    }
    for number in (1, 2, 3):
        assert {cell for at, cell in planned if at == number} == everything
    assert {cell for at, cell in planned if at == 0} == {
        cell for cell in everything if cell.size == 1
    }


def test_what_is_compared_runs_back_to_back_even_from_two_blocks() -> None:
    blocks = Block("v", (1, 10), ("aiomsi", "other")), Block("v", (10,), ("third",))
    planned = [
        cell
        for number, (cell,) in schedule([make_scenario(*blocks)], 1, seed=5, quick=False)
        if number == 1
    ]
    changes = sum(one.size != other.size for one, other in itertools.pairwise(planned))
    assert changes == 1


def test_the_seed_gives_the_order_and_rounds_differ() -> None:
    one = make_scenario(Block("v", tuple(range(1, 9)), ("aiomsi", "other")))
    orders = [list(schedule([one], 2, seed, quick=False)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    first, second = ([team for at, team in orders[0] if at == number] for number in (1, 2))
    assert first != second


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("quick", [False, True])
def test_every_scenario_names_clients_and_variants_that_exist(name: str, quick: bool) -> None:
    one = SCENARIOS[name]
    assert one.name == name
    cells = [cell for _, team in schedule([one], 1, seed=1, quick=quick) for cell in team]
    assert {cell.client for cell in cells} <= set(CLIENTS)
    for cell in cells:
        make_parser().parse_args(one.variants[cell.variant].origin)
        block = one.block_of(cell, quick=quick)
        assert not block.turns or block.work // block.turns >= cell.size, (
            "a turn is too short for all callers"
        )
    blocks = one.blocks(quick=quick)
    planned = [
        (b.variant, size, client) for b in blocks for size in b.sizes for client in b.clients
    ]
    assert len(planned) == len(set(planned)), "a cell is in two blocks"


def test_every_client_says_what_it_is_and_has_what_import_needs() -> None:
    for client in CLIENTS.values():
        assert client.about
        compile(f"async def ready():\n pass\n{client.ready}", client.name, "exec")


def test_the_readme_names_every_client_and_scenario() -> None:
    readme = (Path(__file__).parents[2] / "benchmarks" / "README.md").read_text(encoding="utf-8")
    named = {*SCENARIOS, *CLIENTS} - {"core_packages", "python"}
    assert {name for name in named if f"| `{name}` |" not in readme} == set()


def test_who_takes_turns_is_one_team() -> None:
    blocks = Block("v", (1, 10), ("aiomsi", "other"), turns=2), Block("v", (1,), ("third",))
    teams = [
        {cell.client for cell in team}
        for _, team in schedule([make_scenario(*blocks)], 1, seed=1, quick=False)
    ]
    assert teams.count({"aiomsi", "other"}) == 3
    assert teams.count({"third"}) == 2
