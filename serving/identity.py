"""Who asks, as a verified token tells: role, needs, units, and what that lets them see."""

from __future__ import annotations

import hmac
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from ethics.refusals import Fault, Refusal

EVERY_NEED = "*"
"""In the needs of a system: all of them. Nobody else's claim is read so."""
_LONGEST_NAME = 200
_MOST_NAMES = 500


class Role(StrEnum):
    """What somebody is here for; one token, one role."""

    UNIT = "unit"
    DATA_SCIENTIST = "data_scientist"
    AUDITOR = "auditor"
    RESIDENT = "resident"
    SERVICE_POINT = "service_point"
    SYSTEM = "system"


_SEES_NO_PERSON = frozenset({Role.AUDITOR, Role.DATA_SCIENTIST})


class NotAllowed(Refusal):
    """The token is good, and what is asked for is not for its role."""

    exit_code = 30
    status = 403


class Unseen(Refusal):
    """What is asked for is not this caller's; it is answered as if it did not exist."""

    exit_code = 30
    status = 404


class UnusableClaims(Refusal):
    """A token whose signature holds, and whose claims say nothing that can be used."""

    exit_code = 30
    status = 401


@dataclass(frozen=True)
class ClaimNames:
    """What an issuer calls the claims that Ennakko reads: names, or names with dots between for a claim in a claim."""

    role: str = "role"
    needs: str = "needs"
    units: str = "units"
    person: str = "person_id"
    scopes: str = "https://api.hel.fi/auth"
    loa: str = "loa"


@dataclass(frozen=True, repr=False)
class Identity:
    """Whoever asks, as far as a verified token tells. What it does not tell, it does not grant.

    Attributes
    ----------
    subject, issuer : str
        ``sub`` and ``iss``; logged only as :meth:`mark`.
    role : Role or None
        None for a token that names no role of ours: it opens nothing that asks for one.
    needs, units : frozenset of str
        A unit's own; a system's needs, ``*`` for all of them.
    person_id : str or None
        The resident's pseudonym, where the issuer knows it.
    profile : UUID or None
        The resident's Helsinki Profile, of tokens by its issuer alone; the link table says who that is.
    scopes : frozenset of str
        What Helsinki Profile may do for the resident, as its issuer grants it.
    loa : str or None
        Level of assurance: how surely the resident was recognised.
    """

    subject: str
    issuer: str
    role: Role | None = None
    needs: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()
    person_id: str | None = None
    profile: UUID | None = None
    scopes: frozenset[str] = frozenset()
    loa: str | None = None

    def __repr__(self) -> str:
        return f"Identity({self.role or 'no role'})"

    def mark(self, secret: bytes) -> str:
        """The subject as logs hold it: a keyed hash, the same for the same subject of the same issuer."""
        return hmac.digest(secret, f"{self.issuer}\n{self.subject}".encode("utf-8", "surrogatepass"), "sha256").hex()

    def mark_of_rights(self, secret: bytes) -> str:
        """A keyed hash of the subject and of all that its token lets it do: what one right made, another does not see.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        rights = [self.issuer, self.subject, self.role, sorted(self.needs), sorted(self.units)]
        return hmac.digest(secret, json.dumps(rights).encode("ascii"), "sha256").hex()

    def require_role(self, roles: Collection[Role]) -> None:
        """Refuse whoever has none of these roles.

        Raises
        ------
        NotAllowed
            Also when no roles are given: what nobody was let in to is closed.
        """
        if self.role is None or self.role not in roles:
            needed = " or ".join(sorted(roles)) or "nobody"
            wrong = f"is of the role {self.role}" if self.role else "names no role that is known here"
            raise NotAllowed(Fault("token", f"{wrong}, and this is for {needed}", "Ask whoever gives out the tokens"))

    def may_use_need(self, need_id: str) -> bool:
        """Whether a need is this caller's to ask about.

        A unit and a system have the needs that their token names. Those who see no person may ask about every need,
        or about those named if any are. Residents and service points ask about persons, and every need of theirs.

        >>> Identity("s", "i", Role.UNIT, needs=frozenset({"youth"})).may_use_need("care")
        False
        """
        match self.role:
            case None:
                return False
            case Role.SYSTEM:
                return need_id in self.needs or EVERY_NEED in self.needs
            case Role.UNIT:
                return need_id in self.needs
            case _ if self.role in _SEES_NO_PERSON:
                return not self.needs or need_id in self.needs
            case _:
                return True

    def require_need(self, need_id: str) -> None:
        """Refuse a foreign need as one that does not exist."""
        if not self.may_use_need(need_id):
            raise Unseen(Fault("need", "is none that is known here", "GET /needs says which there are"))

    def may_see_list(self, need_id: str, unit_id: str) -> bool:
        """Whether a unit's list is this caller's: the unit's own, of its own need, or a system's of its needs."""
        if self.role is Role.UNIT:
            return self.may_use_need(need_id) and unit_id in self.units
        return self.role is Role.SYSTEM and self.may_use_need(need_id)

    def require_list(self, need_id: str, unit_id: str) -> None:
        """Refuse a foreign list as one that does not exist."""
        if not self.may_see_list(need_id, unit_id):
            raise Unseen(Fault("list", "is none that is known here", "GET /lists says which there are"))

    def may_see_person(self, person_id: str) -> bool:
        """Whether a person is this caller's to look at: a resident's self, or anybody at a service point."""
        if self.role is Role.RESIDENT:
            return self.person_id is not None and self.person_id == person_id
        return self.role is Role.SERVICE_POINT

    def require_person(self, person_id: str) -> None:
        """Refuse another person as one who does not exist."""
        if not self.may_see_person(person_id):
            raise Unseen(Fault("person", "is nobody who is known here", "A resident asks: GET /person"))


# ---- from claims -----------------------------------------------------------------------------------------------


def city_identity(claims: Mapping[str, Any], names: ClaimNames) -> Identity:
    """Whoever the city's issuer, or the home's own, speaks of: a role, and what belongs to it.

    Raises
    ------
    UnusableClaims
        Several roles of ours in one token, a resident without a person, or a claim of the wrong shape.
    """
    roles = [Role(name) for name in sorted(_names(claims, names.role)) if name in set(Role)]
    if len(roles) > 1:
        raise UnusableClaims(Fault("token", "names several roles", "Ask for a token with the one role it is used in"))
    role = roles[0] if roles else None
    person_id = _text(claims, names.person) if role is Role.RESIDENT else None
    if role is Role.RESIDENT and person_id is None:
        raise UnusableClaims(Fault("token", "is a resident's and says not whose", "Ask for a token with the person"))
    return Identity(
        subject=claims["sub"],
        issuer=claims["iss"],
        role=role,
        needs=_names(claims, names.needs),
        units=_names(claims, names.units) if role is Role.UNIT else frozenset(),
        person_id=person_id,
    )


def profile_identity(claims: Mapping[str, Any], names: ClaimNames) -> Identity:
    """Whoever the issuer behind Helsinki Profile speaks of: a resident, whatever else the token says.

    Raises
    ------
    UnusableClaims
        The subject is not a UUID, or a claim has the wrong shape.
    """
    subject = claims["sub"]
    try:
        profile = UUID(subject)
    except ValueError:
        profile = None
    if profile is None or str(profile) != subject.lower():
        raise UnusableClaims(Fault("token", "has a subject that is not a UUID", "Helsinki Profile names users by UUID"))
    return Identity(
        subject=subject,
        issuer=claims["iss"],
        role=Role.RESIDENT,
        profile=profile,
        scopes=frozenset(n for n in _names(claims, names.scopes) if not n.startswith(".")) | _permitted(claims),
        loa=_text(claims, names.loa),
    )


def _permitted(claims: Mapping[str, Any]) -> frozenset[str]:
    """Scopes as Keycloak's authorisation services write them: ``authorization.permissions[].scopes``.

    Marked with a dot before them: Keycloak grants for one audience, so its scopes have no name of a service in front.
    The city's tester wraps each list in another.
    """
    authorization = claims.get("authorization")
    permissions = authorization.get("permissions") if isinstance(authorization, dict) else None
    if not isinstance(permissions, list):
        return frozenset()
    lists = [entry.get("scopes") for entry in permissions if isinstance(entry, dict)]
    found = [scope for scopes in lists if isinstance(scopes, list) for scope in scopes]
    flat = [inner for scope in found for inner in (scope if isinstance(scope, list) else [scope])]
    return frozenset(f".{scope}" for scope in flat if isinstance(scope, str) and scope)


def holds_scope(identity: Identity, scope: str) -> bool:
    """Whether the profile's issuer grants a scope: whole, as Tunnistamo writes it, or its last part by Keycloak.

    >>> tunnistamo = Identity("s", "i", scopes=frozenset({"other.gdprquery"}))
    >>> keycloak = Identity("s", "i", scopes=frozenset({".gdprquery"}))
    >>> holds_scope(tunnistamo, "ennakko.gdprquery"), holds_scope(keycloak, "ennakko.gdprquery")
    (False, True)
    """
    return scope in identity.scopes or f".{scope.rpartition('.')[2]}" in identity.scopes


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by names with dots between; a name that has dots itself is looked for first."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for step in name.split("."):
        if not isinstance(found, dict) or step not in found:
            return None
        found = found[step]
    return found


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = _claim(claims, name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME:
        raise UnusableClaims(Fault("token", f"has a claim '{name}' that is not a short text", "Ask its issuer"))
    return value


def _names(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """A claim of one name or a list of names."""
    value = _claim(claims, name)
    if value is None:
        return frozenset()
    names = [value] if isinstance(value, str) else value
    if (
        not isinstance(names, list)
        or len(names) > _MOST_NAMES
        or not all(isinstance(each, str) and 0 < len(each) <= _LONGEST_NAME for each in names)
    ):
        raise UnusableClaims(
            Fault("token", f"has a claim '{name}' that is not a list of short texts", "Ask its issuer")
        )
    return frozenset(names)
