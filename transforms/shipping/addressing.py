"""Do profile, receiver, data and mail addresses belong together?

Belongs here: the one guard in front of packing and of every channel. Does not belong here: who the receivers are
(``schemas.receivers``), whose certificate it is (``transforms.shipping.certificates``).

Test and production are never mixed (TEST-05): production is HER-id 94378, validation 121017, and a rehearsal is
addressed to nobody. Mail between the network's test domains and its production domain is not permitted.
"""

from __future__ import annotations

from collections.abc import Iterable

from schemas.errors import WrongUse
from schemas.receivers import domain_of, receivers


def insist_agreement(profile: str, to_her: str, environment: str, addresses: Iterable[str]) -> None:
    """Returns in silence, or raises WrongUse with what contradicts what.

    profile: of the run. to_her: HER-id of the receiving unit. environment: the extract's own word, production or test.
    addresses: mail addresses of both parties, as far as they are known; a channel that mails knows both.
    """
    belongs = {entry.unit_her_id: entry.profile for entry in receivers()}.get(to_her)
    if belongs != profile:
        whose = f"the receiver of profile {belongs}" if belongs else "no receiver of this report"
        raise _mixed(f"HER-id {to_her} is {whose}, and the profile is {profile}", "receiver")
    if profile != "rehearsal" and environment != "production":
        raise _mixed(f"the data come from a {environment} environment, and the profile is {profile}", "extract.toml")
    for address in addresses:
        domain = domain_of(address)
        side = domain.environment if domain else "unknown"
        allowed = ("nowhere",) if profile == "rehearsal" else ("production", "unknown")
        if side not in allowed:
            name = address.rpartition("@")[2]
            raise _mixed(f"mail domain {name} is of {_SIDES[side]}, and the profile is {profile}", "mail address")


_SIDES = {
    "production": "the production side",
    "test": "the test side",
    "nowhere": "no network",
    "unknown": "another network",
}


def _mixed(what: str, where: str) -> WrongUse:
    return WrongUse(
        what,
        where=where,
        rule="TEST-05: test, validation and production are never mixed",
        fix="correct npr.toml: profile, receiver and addresses must be of one environment",
    )
