"""A home whose store holds two people, and a desk of the GDPR interface over it: what the tests of it share."""

import asyncio
from uuid import UUID

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount
from store_cases import FIRST, small_list, small_scores

from serving.gdpr import GdprDesk, Kept, gdpr_app
from serving.gdpr_erasure import eraser_of
from serving.gdpr_view import viewer_of
from serving.home import Home
from serving.profile_links import open_links
from serving.settings import Settings
from serving.tokens import open_issuers

PATH = "/gdpr-api/v1/profiles"
PROFILE_AUDIENCE = "ennakko-profile"
ANNA, BO = UUID("9e14df7c-81f6-4c41-8578-6aa7b9d0e5c0"), UUID("65d4015d-1736-4848-9466-25d43a1fe8c7")
DUTY = Kept("archive_act", {"fi": "Laki velvoittaa.", "sv": "Lagen kräver det.", "en": "The law requires it."})
STRANGER = UUID("11111111-2222-4333-8444-555555555555")


def home_with_people(folder, issuer, audience=PROFILE_AUDIENCE):
    """Anna (000123) and Bo (000124) are scored, listed and linked."""
    home = Home(Settings(home=folder, profile_issuer=issuer, profile_audience=audience))
    home.store.add_scores(small_scores(["000123", "000124"]))
    home.store.publish(small_list(home.store, {"kallio": ["000123", "000124"]}, FIRST), [])
    open_links(home).link([(ANNA, "000123"), (BO, "000124")])
    return home


def erasing(home, kept=()):
    """The store's erasure, unless there are reasons to keep."""

    def erase(person_id, dry_run, begun):
        if not dry_run and not kept:
            begun()
            home.store.erase(person_id)
        return list(kept)

    return erase


def desk_of(home, *, view=None, erase=None, issuers=None):
    return GdprDesk.of(
        home,
        issuers=issuers or open_issuers(home),
        view=view or viewer_of(home),
        erase=erase or eraser_of(home),
    )


def app_of(desk):
    """The interface where the service mounts it."""
    return Starlette(routes=[Mount(PATH, app=gdpr_app(desk))])


class Client:
    """Sends requests to an application in this process."""

    def __init__(self, app):
        self._app = app

    def request(self, method, path, **options):
        async def ask():
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://ennakko.test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def delete(self, path, **options):
        return self.request("DELETE", path, **options)
