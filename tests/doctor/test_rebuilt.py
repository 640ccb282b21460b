"""What the doctor says about rebuilt Sentinels depends on whose id the server holds that they name."""

from __future__ import annotations

import pytest

from stateroom.doctor.database import DatabaseFindings
from stateroom.doctor.rebuilt import judge_rebuilt
from stateroom.sessions.model.deployment import FOREIGN_PRIMARY_FIX, SentinelRow

from .facts import PRIMARY, group, settings

AGREED = DatabaseFindings(fleet_id="ours", is_known=True, sentinels=SentinelRow(base=0, epoch=8, primary=str(PRIMARY)))


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({f"Primary {PRIMARY}": b"ours"}, "run `stateroom sentinels accept`"),
        ({f"Primary {PRIMARY}": None}, "holds no deployment's id, so `stateroom sentinels accept` refuses it"),
        ({f"Primary {PRIMARY}": b"theirs"}, FOREIGN_PRIMARY_FIX),
        ({f"Primary {PRIMARY}": ValueError()}, "run `stateroom sentinels accept`"),
        ({}, "run `stateroom sentinels accept`"),
    ],
)
def test_the_fix_fits_the_id_that_the_server_holds(held: dict[str, object], words: str) -> None:
    [finding] = judge_rebuilt(AGREED, group(), held, settings())
    assert finding.check == "sentinels-rebuilt"
    assert words in finding.fix


def test_sentinels_with_the_epoch_of_the_workers_were_not_rebuilt() -> None:
    agreed = DatabaseFindings(sentinels=SentinelRow(base=0, epoch=7, primary=str(PRIMARY)))
    assert judge_rebuilt(agreed, group(), {}, settings()) == []
