"""Findings about the Sentinels as a group. Each test changes one answer."""

from __future__ import annotations

from typing import Any

import pytest

from stateroom.doctor.findings import Finding, Level
from stateroom.doctor.quorum import believed_primary, judge_quorum
from stateroom.doctor.sentinels import Sentinel, judge_alone
from stateroom.settings import Address

from .facts import PRIMARY, SENTINELS, group, sentinel, settings


def judged(sentinels: list[Sentinel], **values: Any) -> list[Finding]:
    return [finding for finding in judge_quorum(sentinels, settings(**values)) if finding.level is not Level.OK]


def test_three_that_agree_are_good() -> None:
    [finding] = judge_quorum(group(), settings())
    assert finding.what == "3 of 3 agree; quorum 2, down-after 5000 ms, failover-timeout 30000 ms"


@pytest.mark.parametrize(
    ("state", "values", "check", "words"),
    [
        ({"quorum": "1"}, {}, "quorum-odd", "bad network"),
        ({"quorum": "3"}, {}, "quorum-odd", "if 1 fails"),
        ({"num_other_sentinels": "1"}, {}, "few-sentinels", "there are 2"),
        ({"num_other_sentinels": "3", "quorum": "3"}, {}, "even-sentinels", "there are 4"),
        ({"down_after_milliseconds": "500"}, {}, "down-after", "500"),
        ({"down_after_milliseconds": "60000"}, {}, "down-after", "60000"),
        ({"failover_timeout": "1000"}, {}, "failover-timeout", "1000 ms"),
        ({"failover_timeout": "180000"}, {}, "failover-timeout", "360 s"),
        ({"failover_timeout": "30000"}, {"degraded_max_age": 60}, "failover-timeout", "DEGRADED_MAX_AGE ends after 60 s"),
    ],
)
def test_what_makes_a_failover_slower_or_less_certain_is_found(
    state: dict[str, str], values: dict[str, Any], check: str, words: str
) -> None:
    [finding] = judged(group(**state), **values)
    assert finding.check == check
    assert words in finding.what
    assert finding.fix


def test_without_degraded_mode_nobody_is_carried_and_the_time_is_no_finding() -> None:
    assert judged(group(failover_timeout="180000"), degraded_max_age=0) == []


def test_the_highest_epoch_is_believed_and_one_behind_it_is_found() -> None:
    old = sentinel(2, config_epoch="6")
    old.primary = Address("10.0.0.9", 6379)
    assert believed_primary([old, *group()[:2]]) == PRIMARY
    [finding] = judged([*group()[:2], old])
    assert (finding.check, finding.where) == ("disagrees", f"Sentinel {SENTINELS[2]}")


def test_sentinels_that_are_configured_differently_are_found_with_their_values() -> None:
    [finding] = judged([*group()[:2], sentinel(2, down_after_milliseconds="9000")])
    assert finding.check == "sentinels-differ"
    assert "5000, 5000, 9000" in finding.what


def test_a_sentinel_that_knows_fewer_than_there_are_is_found() -> None:
    [finding] = [each for each in judged([*group()[:2], sentinel(2, num_other_sentinels="1")]) if each.check != "quorum-odd"]
    assert (finding.check, finding.where) == ("knows-few", f"Sentinel {SENTINELS[2]}")


def test_a_sentinel_that_is_gone_for_good_is_found() -> None:
    four = group(num_other_sentinels="3", quorum="3")
    for each in four:
        each.others = [{"runid": "id-9", "ip": "10.0.1.9", "port": "26379", "flags": "s_down,sentinel"}]
    assert {finding.check for finding in judged(four)} == {"even-sentinels", "sentinel-gone"}


def test_one_that_could_not_be_reached_is_not_told_twice() -> None:
    two = group()[:2]
    for each in two:
        each.others = [{"runid": "id-2", "ip": "sentinel-2", "port": "26379", "flags": "s_down,sentinel"}]
    assert judged(two) == []


def test_a_lost_quorum_is_told_once_in_sentinels_own_words() -> None:
    three = group()
    for each in three:
        each.quorum = "NOQUORUM 1 usable Sentinels."
    [finding] = judged(three)
    assert (finding.check, finding.where) == ("quorum-lost", "Sentinels")
    assert finding.what.endswith("NOQUORUM 1 usable Sentinels")


def test_one_that_is_cut_off_from_the_others_is_told_as_that() -> None:
    three = group()
    three[1].quorum = "NOQUORUM 1 usable Sentinels. Not enough available Sentinels to reach the majority."
    [finding] = judged(three)
    assert (finding.check, finding.where) == ("quorum-lost", f"Sentinel {SENTINELS[1]}")


def test_what_one_says_of_itself_is_found() -> None:
    tilted = sentinel()
    tilted.is_tilted, tilted.lacks = True, ["SUBSCRIBE to +switch-master"]
    assert [finding.check for finding in judge_alone(tilted)] == ["sentinel-rights", "tilt"]
    assert list(judge_alone(sentinel())) == []
