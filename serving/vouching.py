"""What the commands do by which people vouch: statements, signatures, keys, the stop switch."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from ethics.refusals import BadInput, Fault
from serving.saying import counted, home_of, say, table


def attest(options: argparse.Namespace) -> int:
    """Sign a statement that lifts what names it."""
    from serving import approval

    result = approval.give_attestation(
        home_of(options),
        options.verdict,
        options.statement,
        options.reasons,
        check=options.check,
        role=options.role,
        organisation=options.organisation,
    )
    said = f"{result['id']} given by {result['role']} for {', '.join(result['checks'])}. Judge the run again."
    return say(options, result, lambda: print(said))


def sign(options: argparse.Namespace) -> int:
    """The auditor's signature on a verdict, or an officer's on a policy."""
    from serving import approval

    if options.verdict is None:
        return _sign_policy(options)
    if options.role not in (None, "auditor"):
        raise BadInput(Fault("--role", f"'{options.role}' does not sign verdicts", "Leave it out: the auditor signs"))
    result = approval.sign_verdict(home_of(options), options.verdict)
    return say(options, result, lambda: print(f"{result['verdict_path']}: signed by {', '.join(result['signed_by'])}"))


def _sign_policy(options: argparse.Namespace) -> int:
    from serving.key_work import sign_policy

    if options.policy is None or options.role is None:
        mend = "Give --verdict FILE for the auditor's signature, or --policy FILE --role ROLE for an officer's"
        raise BadInput(Fault("ennakko sign", "nothing to sign is named", mend))
    result = sign_policy(home_of(options), options.policy, options.role, datetime.now(UTC))

    def in_words() -> None:
        print(f"{result['path']}: signed by {result['role']}")
        if not result["in_force"]:
            print(f"Not in force yet: it {'; '.join(result['missing'])}.")
            return
        print(f"In force from now on, as {result['in_force_at']}.")
        rows = [(row["key"], row["value"], row["template"]) for row in result["looser_than_template"]]
        if rows:
            print("Looser than the template, and said so on every report:")
            table(rows, ("key", "here", "template"))

    return say(options, result, in_words)


def revoke(options: argparse.Namespace) -> int:
    """Take a verdict back."""
    from serving.key_work import revoke_verdict

    result = revoke_verdict(home_of(options), options.verdict, options.reason)
    said = f"{result['verdict_id']} of {result['need']} is revoked: no score leaves on its strength"
    return say(options, result, lambda: print(said))


def approve(options: argparse.Namespace) -> int:
    """Make a model the one in use."""
    from serving import approval

    result = approval.approve_verdict(home_of(options), options.verdict)
    said = f"{result['need']}: model {result['model_digest'][:12]} is now in use, until {result['expires_at']}"
    return say(options, result, lambda: print(said))


def keys_demo(options: argparse.Namespace) -> int:
    """Make demonstration keys and test the stop switch."""
    from serving import upkeep

    result = upkeep.make_demonstration_keys(home_of(options), datetime.now(UTC))
    said = (
        f"Demonstration keys for {', '.join(result['roles'])} until {result['valid_to']}; the stop switch was tested."
    )
    return say(options, result, lambda: print(said))


def keys_list(options: argparse.Namespace) -> int:
    """The keys this home trusts."""
    from serving.key_work import list_keys

    keys = list_keys(home_of(options), datetime.now(UTC))
    rows = [
        (
            *(k["keyid"][:12], k["role"], k["name"], k["valid_from"], k["valid_to"], k["state"]),
            "demonstration" if k["demonstration"] else "",
        )
        for k in keys
    ]
    heads = ("key", "role", "holder", "valid from", "valid to", "state", "")
    none = "no keys yet: ennakko keys make, or ennakko keys demo to try things out"
    return say(options, {"keys": keys}, lambda: table(rows, heads) if rows else print(none))


def keys_make(options: argparse.Namespace) -> int:
    """Make a key for a role."""
    from serving.key_work import make_key

    result = make_key(home_of(options), options.role, options.name, options.days, datetime.now(UTC))
    said = f"{result['role']} key {result['keyid'][:12]} of {result['name']}, until {result['valid_to']}"
    return say(options, result, lambda: print(said))


def keys_rotate(options: argparse.Namespace) -> int:
    """Put a new key in the place of a role's key."""
    from serving.key_work import rotate_key

    result = rotate_key(home_of(options), options.role, options.days, datetime.now(UTC))
    said = (
        f"{result['role']}: key {result['retired'][:12]} is retired and its private part destroyed; "
        f"{result['keyid'][:12]} signs from now on, until {result['valid_to']}"
    )
    return say(options, result, lambda: print(said))


def keys_revoke(options: argparse.Namespace) -> int:
    """Believe a key no more."""
    from serving.key_work import revoke_key

    result = revoke_key(home_of(options), options.key, options.reason, datetime.now(UTC))
    said = f"key {result['keyid'][:12]} of {result['name']} is revoked: nothing that it signed counts any more"
    return say(options, result, lambda: print(said))


def keys_export(options: argparse.Namespace) -> int:
    """The public keys as a file."""
    from serving.key_work import export_trust

    result = export_trust(home_of(options), options.to)
    return say(options, result, lambda: print(f"{counted(result['keys'], 'public key')} in {result['path']}"))


def stop(options: argparse.Namespace) -> int:
    """Set, clear, test or look at the stop switch."""
    from serving import upkeep

    result = upkeep.use_stop_switch(home_of(options), options.action, options.reason, datetime.now(UTC))
    state = "SET: no score leaves" if result["set"] else "clear"
    return say(options, result, lambda: print(f"stop switch: {state}; last tested {result['tested_at'] or 'never'}"))
