"""The former names of the controls, which still work."""

from operator import attrgetter

import pytest
from testing.embedded_client import ask_arm, ask_imds

from aiomsi.testing import ArmLimits, EmbeddedAzure, Fault
from aiomsi.testing._former_names import FormerName, FormerNames

NAMES = {name: value for name, value in vars(FormerNames).items() if isinstance(value, FormerName)}


@pytest.mark.parametrize("name", NAMES)
def test_former_name_warns_and_is_the_new_attribute(name: str) -> None:
    with EmbeddedAzure() as azure:
        present = attrgetter(NAMES[name]._path)(azure)
        with pytest.warns(DeprecationWarning, match=f"EmbeddedAzure.{name} is now Emb") as caught:
            former = getattr(azure, name)
    assert former == present
    assert caught[0].filename == __file__


def test_class_has_the_former_names() -> None:
    assert EmbeddedAzure.add_resource is NAMES["add_resource"]


def test_former_name_can_be_assigned() -> None:
    azure, limits = EmbeddedAzure(), ArmLimits()
    with pytest.warns(DeprecationWarning, match="arm_limits is now EmbeddedAzure.arm.limits$"):
        azure.arm_limits = limits
    assert azure.arm.limits is limits


@pytest.mark.parametrize("service", ["imds", "arm"])
def test_faults_and_holds_keep_their_former_names(service: str) -> None:
    ask = ask_imds if service == "imds" else ask_arm
    with EmbeddedAzure() as azure:
        with pytest.warns(DeprecationWarning, match=f"inject is now .*{service}.inject$") as caught:
            azure.inject(service, Fault(418))
        assert caught[0].filename == __file__
        assert ask(azure).status == 418
        with pytest.warns(DeprecationWarning, match=f"hold is now .*{service}.hold$"):
            held = azure.hold(service)
        with held as hold:
            hold.release()
            assert ask(azure).status == 200
            hold.wait_arrived(1)


@pytest.mark.parametrize("method", ["inject", "hold"])
def test_former_names_refuse_an_unknown_service(method: str) -> None:
    arguments = ("entra", Fault()) if method == "inject" else ("entra",)
    with pytest.raises(ValueError, match="no service 'entra'"):
        getattr(EmbeddedAzure(), method)(*arguments)


def test_subscription_ids_are_those_of_arm() -> None:
    azure = EmbeddedAzure()
    assert azure.subscription_ids == azure.arm.subscription_ids
