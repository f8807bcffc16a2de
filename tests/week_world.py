"""One city, one home, and several needs of the sealed world's kind, each approved: what a week is made of."""

from sealed_world import MODEL_NEED, RULE_NEED, World

LIST = '\n[list]\ncolumns = ["rank_band", "reasons"]\ncooldown_days = 90\nsample = {sample}\n'
YOUTH, OTHER, RULE, FORBIDDEN = "youth", "other", "written", "forbidden"
REGISTER = "a register for other purposes"
NEEDS = {
    YOUTH: MODEL_NEED + LIST.format(sample=40),
    OTHER: MODEL_NEED.replace("workers = 2", "workers = 1") + LIST.format(sample=0),
    RULE: RULE_NEED + LIST.format(sample=0),
    FORBIDDEN: MODEL_NEED.replace('source = "school register"', f'source = "{REGISTER}"') + LIST.format(sample=0),
}
CITY_FILE = f"""extract_date = 2024-06-30
invented = true
[attempt_cost]
"youth-work" = 24.5
[purposes]
"{REGISTER}" = ["another-service"]
"""


def week_world(folder, needs=(YOUTH, OTHER, RULE)):
    """Worlds by need id, in one home with one city, approved; the gate blocks every list of FORBIDDEN."""
    first = World(folder, need_text=NEEDS[needs[0]], need_id=needs[0], units=True)
    first.city  # noqa: B018 written by being opened
    (folder / "city" / "city.toml").write_text(CITY_FILE)
    first.groups._frame.write_parquet(folder / "city" / "groups.parquet")
    worlds = {}
    for need_id in needs:
        shared = {"shared_home": first.home, "shared_city": first.city}
        world = first if not worlds else World(folder, NEEDS[need_id], need_id, units=True, **shared)
        world.fairness = first.fairness  # what the gate is shown of it is invented, and the same for all
        (folder / f"{need_id}.toml").write_text(NEEDS[need_id])
        world.approve()
        worlds[need_id] = world
        world.scorer  # noqa: B018 its secret
    # What is drawn at random once, and then kept: every copy of the home shares it.
    first.home.store.refer(first.city.persons["person_id"].to_list())
    first.home.settings.secret("contention")
    return worlds
