"""The HTTP service, as BentoML runs it: a mounting place for the table of endpoints, and nothing without a verdict.

Our routes (:mod:`serving.http_door`) are mounted in BentoML for their lifespan; requests go to them before BentoML sees
any, since its own pages, schemas and task endpoints are not ours to answer for.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

# Only this exact word is understood, and only before the import.
os.environ["BENTOML_DO_NOT_TRACK"] = "True"

import bentoml

from ethics.refusal_ids import DEMONSTRATION
from ethics.refusals import BadInput, Fault, NotTrusted, Refusal
from serving.access import Access, access_of
from serving.champions import Guarded
from serving.desk import ScoreDesk
from serving.http_door import OnlyOurs, http_app
from serving.limits import Limits
from serving.serving_state import ServingState
from serving.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from features.city import City
    from serving.approval import Champion
    from serving.home import Home
    from serving.tokens import Issuers

STATE = ServingState()
_HTTP = http_app(STATE)


@bentoml.asgi_app(_HTTP, path="/")
@bentoml.service(
    name="NeedScores",
    workers=1,
    traffic={"timeout": 600},  # ours, per endpoint, come first
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class NeedScores:
    """Scores one person or many; refuses to start without verified verdicts."""

    def __init__(self) -> None:
        # What `serve` opened in this process is not read again, but it is verified again.
        if STATE.desk is None:
            open_service(Settings.from_environment())
        STATE.desk.require_trust()

    @bentoml.on_deployment
    @staticmethod
    def refuse_other_starts() -> None:
        """Refuse ``bentoml serve``, before it opens any port.

        Its supervisor has a control port that asks nobody who they are, and listens where our settings do not say:
        whoever is let in without a token on loopback would be let in from everywhere.

        Raises
        ------
        NotTrusted
        """
        wrong = "would listen elsewhere than the settings say, and open a control port"
        raise NotTrusted(
            Fault("bentoml serve", wrong, "Start it by: ennakko serve, in a Bento: python -m serving serve")
        )


# BentoML's decorator has made it a Service, which its types do not say.
_SERVICE: Any = NeedScores
_SERVICE.add_asgi_middleware(OnlyOurs, ours=_HTTP, state=STATE)


def open_service(settings: Settings, access: Access | None = None, limits: Limits | None = None) -> None:
    """Open what answers, for this process.

    Parameters
    ----------
    settings : Settings
    access : Access, optional
        Who may ask; by default as :func:`serving.access.access_of` says.
    limits : Limits, optional

    Raises
    ------
    Refusal
        As :func:`open_desk`, and :func:`serving.tokens.open_issuers`.
    """
    from serving.home import Home
    from serving.issuer_watch import IssuerWatch
    from serving.tokens import open_issuers

    home = Home(settings, impatient=True)
    issuers = open_issuers(home)
    desk = open_desk(settings, home)
    gdpr = open_gdpr(home, issuers, desk.city) if settings.profile_issuer is not None else None
    STATE.open(desk, settings, home, access or access_of(settings, issuers), limits or Limits(), gdpr)
    STATE.issuer_watch = IssuerWatch(home, issuers) if access is None else None


def open_gdpr(home: Home, issuers: Issuers, city: City | None = None) -> Starlette:
    """The GDPR interface of Helsinki Profile; erasures that were cut short are finished first.

    ``city`` is the served one, which is then not read a second time to tell a resident what it holds.
    """
    from serving.gdpr import GdprDesk, gdpr_app
    from serving.gdpr_erasure import eraser_of
    from serving.gdpr_view import viewer_of

    view = viewer_of(home, city=city)
    desk = GdprDesk.of(home, issuers=issuers, view=view, erase=eraser_of(home), admits=STATE.admits)
    desk.finish()
    return gdpr_app(desk)


def open_desk(settings: Settings, home: Home | None = None) -> ScoreDesk:
    """Open the city and verify the champion of every need asked for, or refuse with everything that is wrong.

    Raises
    ------
    Refusal
        No city or need is named; a verdict is missing, altered, expired, revoked, inconclusive or blocked; or only
        demonstration keys stand behind it while others than this machine could knock.
    """
    from features.city import open_city
    from features.compiled import warm_up
    from models.registry import approved_pointer
    from scoring import forest
    from serving.home import Home
    from serving.kept_look import look_of

    home = home or Home(settings, impatient=True)
    if settings.city is None:
        raise BadInput(Fault("ENNAKKO_CITY", "names no city", "Give the path of a city folder"))
    if not settings.needs:
        raise BadInput(Fault("ENNAKKO_NEEDS", "names no need", "Give the ids of approved needs, with commas between"))
    guarded: dict[str, Guarded] = {}
    refusals: list[Refusal] = []
    for need_id in settings.needs:
        try:
            pointer = partial(approved_pointer, home.registry, need_id)
            guarded[need_id] = Guarded(partial(_champion, home, need_id), pointer, partial(_champion_again, home))
        except Refusal as refusal:
            refusals.append(refusal)
    if refusals:
        worst = max(refusals, key=lambda refusal: refusal.exit_code)
        raise type(worst)(*(fault for refusal in refusals for fault in refusal.faults))
    limits = [guard.champion.need.limits.max_reject_share for guard in guarded.values()]
    share = min([home.policy.limits.max_reject_share, *(limit for limit in limits if limit is not None)])
    city = open_city(settings.city, max_reject_share=share)
    for prepare in (warm_up, forest.warm_up):  # or the first person asked about would wait for the compiler
        prepare()
    return ScoreDesk(city, guarded, home.objections, home.policy, look_of(home), n_erased=home.n_erased)


def verify_service(settings: Settings) -> None:
    """Open everything and close it again: what would keep a worker from starting is refused here, in words.

    Raises
    ------
    Refusal
        As :func:`open_service`.
    """
    from serving.home import Home
    from serving.tokens import open_issuers

    home = Home(settings, impatient=True)
    issuers = open_issuers(home)
    open_desk(settings, home).close()
    if settings.profile_issuer is not None:
        open_gdpr(home, issuers)
    home.engine.dispose()


def asgi_app() -> Any:
    """The application that a server runs, in the process in which :func:`open_service` was called."""
    # BentoML's own layers, of which one leaves a timer behind for ten minutes after every request, see no request.
    return OnlyOurs(_SERVICE.to_asgi(is_main=True), ours=_HTTP, state=STATE)


def _champion(home: Home, need_id: str) -> Champion:
    """A need's champion, verified and in its place; also one that is approved while the service runs."""
    from serving.approval import open_champion

    champion = open_champion(home, need_id)
    _refuse_misplaced(champion, home.settings)
    return champion


def _champion_again(home: Home, champion: Champion) -> Champion:
    """The champion in use, verified anew by its own files, whether the registry answers or not."""
    from serving.approval import reopen_champion

    again = reopen_champion(home, champion)
    _refuse_misplaced(again, home.settings)
    return again


def _refuse_misplaced(champion: Champion, settings: Settings) -> None:
    """Refuse a demonstration where others can knock, and a service without tokens where it is no demonstration."""
    where, demonstration = f"verdict of {champion.need.id}", champion.verified.verdict.demonstration
    if demonstration and not settings.on_loopback:
        wrong = f"was signed with demonstration keys, and others than this machine can reach {settings.host}"
        raise NotTrusted(Fault(where, wrong, "Serve it on 127.0.0.1, or sign with the city's keys", DEMONSTRATION))
    if settings.without_tokens and not demonstration:
        wrong = "was signed with the city's keys, and scores of residents are for those alone who show a token"
        raise NotTrusted(Fault(where, wrong, "Leave out --without-tokens; ennakko keys issuer, then ennakko token"))
