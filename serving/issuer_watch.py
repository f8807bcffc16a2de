"""Notices an issuer that is made, or made anew, while the service runs, so that its tokens count without a restart.

Whoever can write the issuer's file could as well have written it before the start: it adds nobody to those who are
trusted. It only ever closes: a service on trial asks for tokens from then on, and one whose issuer cannot be trusted
lets nobody in.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable
from typing import TYPE_CHECKING

from ethics.refusals import NotTrusted
from serving.access import Access, by_tokens
from serving.local_issuer import issuer_path, stamp_of
from serving.tokens import trusted_local

if TYPE_CHECKING:
    from serving.home import Home
    from serving.tokens import Issuers

_LOG = logging.getLogger("ennakko.service")


class IssuerWatch:
    """Looks at the file of the home's own issuer.

    Parameters
    ----------
    home : Home
    issuers : Issuers
        Who is trusted now; the home's own is put among them.
    """

    def __init__(self, home: Home, issuers: Issuers) -> None:
        self._home, self._issuers = home, issuers
        self._path = issuer_path(home)
        self._stamp: Hashable = stamp_of(self._path)

    def look(self) -> Access | None:
        """Who may ask from now on, where the issuer is another than at the last look; None where it is not.

        A file that is gone changes nothing here: its tokens count no more, and nobody is let in without one.
        """
        stamp = stamp_of(self._path)
        if stamp is None or stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            found = trusted_local(self._home)
        except NotTrusted:
            _LOG.error("an issuer of tokens was made, and cannot be trusted: ennakko keys issuer --anew")
            found = None
        if found is not None:
            self._issuers.trust(found)
        return Access(by_tokens(self._issuers)) if self._issuers.trusted else Access()

    def are_silent(self) -> bool:
        """Whether nobody can be recognised now; see :meth:`serving.tokens.Issuers.are_silent`."""
        return self._issuers.are_silent()
