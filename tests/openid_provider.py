"""An OpenID provider in the test's own process: a real HTTP server on loopback, real keys, and ways to misbehave."""

import base64
import contextlib
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUDIENCE = "ennakko-city"
# Made once: RSA keys take a while.
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
ALGORITHM_OF = {"RS256": RSA_KEY, "PS256": RSA_KEY, "ES256": EC_KEY, "EdDSA": ED_KEY}
_MAKER = {
    "RS256": jwt.algorithms.RSAAlgorithm,
    "ES256": jwt.algorithms.ECAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}
_MAKER["PS256"] = _MAKER["RS256"]


def b64(content):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def jwk_of(key, algorithm, kid, **more):
    """The public key as a provider publishes it."""
    return {**_MAKER[algorithm].to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


def public_pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class Provider:
    """Serves discovery and keys; ``asked`` counts the requests by path, ``answers`` replaces what a path says.

    An answer is bytes, a JSON value, or a function of the request handler that writes it itself.
    """

    def __init__(self, path=""):
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):  # the standard library's name for it
                provider.asked[self.path] = provider.asked.get(self.path, 0) + 1
                answer = provider.answers.get(self.path)
                if callable(answer):
                    with contextlib.suppress(OSError):
                        answer(self)
                    return
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(404 if answer is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.asked, self.answers = {}, {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        self.issuer = f"{self.origin}{path}"
        self.discovery = f"{path.rstrip('/')}/.well-known/openid-configuration"
        self.jwks = f"{path.rstrip('/')}/jwks"
        self.answers[self.discovery] = {"issuer": self.issuer, "jwks_uri": f"{self.origin}{self.jwks}"}
        self.publish(*(jwk_of(ALGORITHM_OF[name], name, name) for name in ("RS256", "ES256", "EdDSA")))
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def publish(self, *keys):
        self.answers[self.jwks] = {"keys": list(keys)}

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def claims(self, **more):
        """Claims of a good token of a unit; None takes a claim away."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "caseworker 12",
            "iat": now,
            "exp": now + 300,
            "role": "unit",
            "needs": ["youth_exclusion"],
            "units": ["kallio"],
        } | more
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, algorithm="RS256", *, key=None, headers=None, **more):
        """A token by this provider, signed with its key of the algorithm unless another is given."""
        kid = "RS256" if algorithm == "PS256" else algorithm
        headers = {"kid": kid} | (headers or {})
        headers = {name: value for name, value in headers.items() if value is not None}
        return jwt.encode(self.claims(**more), key or ALGORITHM_OF[algorithm], algorithm, headers)


def raw_token(header, payload, key=b"", signature=None):
    """A token put together by hand, signed with HMAC-SHA256 under ``key`` unless a signature is given."""
    said = f"{b64(header)}.{b64(payload)}"
    if signature is None:
        signature = hmac.digest(key, said.encode(), hashlib.sha256)
    return f"{said}.{b64(signature)}"


def rsa_signed(header, payload, key=RSA_KEY):
    """A token put together by hand, byte for byte, and signed as RS256 with the provider's real key."""
    said = f"{b64(header)}.{b64(payload)}"
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(said.encode(), key)
    return f"{said}.{b64(signature)}"
