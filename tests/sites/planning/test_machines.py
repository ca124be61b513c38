"""Which machine each host is: by machine-id, then address, then name; none is confused with another, none is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sites.desired.inventory import Target
from sites.planning.machines import Recognised, asked_as, elsewhere, recognised
from sites.remembered import RememberedHost, RememberedNode

X, Y, Z = "a" * 32, "b" * 32, "c" * 32


def was(address: str, machine: str = "", node: str = "n") -> RememberedHost:
    return RememberedHost(
        site="eu",
        address=address,
        port=22,
        machine=machine,
        nodes={node: RememberedNode(url=f"https://{address}:5001")},
    )


def topology(**hosts: str) -> dict[str, Target]:
    return {name.replace("_", "-"): Target(name.replace("_", "-"), "eu", at, 22) for name, at in hosts.items()}


def found(
    before: dict[str, RememberedHost], targets: dict[str, Target], **ids: str
) -> tuple[Recognised, dict[str, str]]:
    """What became of it, and whose memory each host has now, by node."""
    known = recognised(before, targets, {name.replace("_", "-"): each for name, each in ids.items()})
    return known, {name: next(iter(each.nodes)) for name, each in known.hosts.items()}


def test_a_machine_that_got_another_name_and_address_at_once_is_the_same() -> None:
    known, whose = found({"old": was("10.0.0.1", X)}, topology(new="10.0.0.9"), new=X)
    assert whose == {"new": "n"} and not known.beyond
    assert elsewhere(known.hosts, topology(new="10.0.0.9")) == {}, "nothing left"
    assert known.notes == ("new is the machine that was old (10.0.0.1): nothing left it",)


def test_another_machine_under_an_old_name_leaves_the_former_one_to_be_asked() -> None:
    before, targets = {"eu-1": was("10.0.0.1", X)}, topology(eu_1="10.0.0.9")
    assert list(elsewhere(before, targets)) == ["eu-1@10.0.0.1"]
    known, whose = found(before, targets, eu_1=Y)
    assert whose == {"eu-1@10.0.0.1": "n"}
    assert list(elsewhere(known.hosts, targets)) == ["eu-1@10.0.0.1"]
    (said,) = known.notes
    assert "another machine than at the last apply; the former one at 10.0.0.1" in said
    assert "towpath apply --forget eu-1@10.0.0.1" in said


def test_a_readdressed_host_of_an_earlier_towpath_is_known_by_its_name() -> None:
    _, whose = found({"eu-1": was("10.0.0.1")}, topology(eu_1="10.0.0.9"), eu_1=X)
    assert whose == {"eu-1": "n"}
    recalled = recognised({"eu-1": was("10.0.0.1")}, topology(eu_1="10.0.0.9"), {"eu-1": X, "eu-1@10.0.0.1": Y})
    assert list(recalled.hosts) == ["eu-1@10.0.0.1"], "its former address says that it is another one"


def test_a_host_installed_anew_at_its_place_is_said_and_asked_nowhere_else() -> None:
    known, whose = found({"eu-1": was("10.0.0.1", X)}, topology(eu_1="10.0.0.1"), eu_1=Y)
    assert (whose, known.beyond) == ({"eu-1": "n"}, {})
    assert "another machine than at the last apply, at the same address" in known.notes[0]


def test_copied_machines_are_told_apart_by_address_and_name() -> None:
    before = {"eu-1": was("10.0.0.1", X, "one"), "eu-2": was("10.0.0.2", X, "two")}
    known, whose = found(before, topology(eu_1="10.0.0.8", eu_2="10.0.0.2"), eu_1=X, eu_2=X)
    assert whose == {"eu-1": "one", "eu-2": "two"} or "eu-1@10.0.0.1" in known.beyond
    assert any(each.startswith("warning[machine-id-twice]: eu-1 and eu-2") for each in known.notes)


def test_a_former_place_that_shows_the_machine_id_of_a_declared_host_is_left_alone_and_said() -> None:
    """The same machine by another way, or the original of a copy: nothing is removed, nothing is forgotten."""
    before, targets = {"old": was("10.0.0.1", X)}, topology(new="10.0.0.9")
    known, whose = found(before, targets, new=X, old=X)
    assert (known.beyond["old"].code, whose) == ("host-answers-twice", {"new": "n", "old": "n"})


def test_what_answers_where_a_host_left_and_is_another_machine_is_left_alone() -> None:
    known, _ = found({"old": was("10.0.0.1", X)}, topology(new="10.0.0.9"), new=Y, old=Z)
    assert known.beyond["old"].code == "host-is-another-machine"


def test_a_machine_whose_place_another_one_took_is_not_forgotten() -> None:
    before = {"a": was("10.0.0.1", X, "one"), "b": was("10.0.0.2", Y, "two")}
    known, whose = found(before, topology(a="10.0.0.2"), a=X)
    assert whose == {"a": "one", "b": "two"} and known.beyond["b"].code == "host-out-of-reach"


def test_machines_that_swapped_their_names_keep_their_own_memory() -> None:
    before = {"eu-1": was("10.0.0.1", X, "one"), "eu-2": was("10.0.0.2", Y, "two")}
    for ids in ({"eu_1": Y, "eu_2": X}, {}):
        _, whose = found(before, topology(eu_1="10.0.0.2", eu_2="10.0.0.1"), **ids)
        assert whose == {"eu-1": "two", "eu-2": "one"}


def test_a_host_that_does_not_answer_at_a_new_address_has_not_moved_there() -> None:
    """Else the only place where its nodes may run would be forgotten."""
    before, targets = {"eu-1": was("10.0.0.1", X)}, topology(eu_1="10.0.0.9")
    for answers in ({"eu-1@10.0.0.1": X}, {}):
        known = recognised(before, targets, answers)
        assert (known.hosts, known.beyond) == ({"eu-1@10.0.0.1": before["eu-1"]}, {})
    back = recognised(known.hosts, targets, {"eu-1": X})
    assert back.hosts["eu-1"].address == "10.0.0.9" and list(back.hosts) == ["eu-1"]


def test_nodes_of_a_machine_that_moved_are_not_asked_where_another_one_may_be() -> None:
    before = {"eu-1": was("10.0.0.1", X, "one"), "eu-2": was("10.0.0.2", Y, "two")}
    known, _ = found(before, topology(eu_1="10.0.0.1", eu_2="10.0.0.2"), eu_1=Y, eu_2=X)
    assert {name: each.nodes for name, each in known.hosts.items()} == {
        "eu-1": {"two": RememberedNode(url="")},
        "eu-2": {"one": RememberedNode(url="")},
    }
    stays, _ = found(before, topology(one="10.0.0.1", two="10.0.0.2"), one=X, two=Y)
    assert stays.hosts == {"one": before["eu-1"], "two": before["eu-2"]}


NAMES = st.sampled_from(["a", "b", "c", "d"])
PLACES = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"])
IDS = st.sampled_from(["", X, Y, Z])
BEFORE = st.dictionaries(NAMES, st.tuples(PLACES, IDS), max_size=4)
NOW = st.dictionaries(NAMES, st.tuples(PLACES, IDS), min_size=1, max_size=4)


@given(BEFORE, NOW, st.dictionaries(PLACES, IDS))
def test_every_remembered_machine_is_exactly_one_host_or_left(
    remembered: dict[str, tuple[str, str]], declared: dict[str, tuple[str, str]], answering: dict[str, str]
) -> None:
    before = {name: was(at, id, name) for name, (at, id) in remembered.items()}
    targets = {name: Target(name, "eu", at, 22) for name, (at, _) in declared.items()}
    ids = {
        asked: answering[each.address]
        for asked, each in elsewhere(before, targets).items()
        if each.address in answering
    }
    known = recognised(before, targets, {**ids, **{name: id for name, (_, id) in declared.items()}})
    now = {name: next(iter(each.nodes)) for name, each in known.hosts.items() if name in targets}
    assert len(set(now.values())) == len(now), "no memory is two hosts'"
    for name, each in before.items():
        asked = asked_as(name, each, targets)
        assert (name in now.values()) or known.hosts[asked] == each, "none is forgotten"
        assert name not in now.values() or asked not in known.hosts or asked in known.beyond or asked in targets
    taken = [id for _, id in declared.values() if id]
    for host, name in now.items():
        (address, id), (_, is_now) = remembered[name], declared[host]
        if id and is_now and id != is_now:
            assert address == targets[host].address, "told apart by machine-id, and yet taken for the same elsewhere"
    for host, (_, id) in declared.items():
        same = [name for name, (_, then) in remembered.items() if id and then == id]
        if len(same) == 1 and taken.count(id) == 1:
            assert now.get(host) == same[0], "a machine-id that is one host's decides"
    assert set(known.beyond) <= set(known.hosts)
