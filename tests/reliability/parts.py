"""All parts of the lab, those first that take longest."""

from typing import Any, Final

from tests.reliability.crash.part import PART as CRASH
from tests.reliability.endurance.part import PART as ENDURANCE
from tests.reliability.fuzzing.part import PART as FUZZING
from tests.reliability.linearizability.part import PART as LINEARIZABILITY
from tests.reliability.network.part import PART as NETWORK
from tests.reliability.part import Part
from tests.reliability.properties.part import PART as PROPERTIES
from tests.reliability.seeded.part import PART as SEEDED
from tests.reliability.store_faults.part import PART as STORE_FAULTS
from tests.reliability.upgrade.part import PART as UPGRADE

PARTS: Final[tuple[Part[Any], ...]] = (
    ENDURANCE,
    CRASH,
    NETWORK,
    FUZZING,
    PROPERTIES,
    STORE_FAULTS,
    LINEARIZABILITY,
    UPGRADE,
    SEEDED,
)
