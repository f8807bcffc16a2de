"""One city, one home, and several needs of the sealed world's kind, each approved: what a week is made of."""

from sealed_world import HEAD, MODEL_NEED, RULE_NEED, World

LIST = '\n[list]\ncolumns = ["rank_band", "reasons"]\ncooldown_days = 90\nsample = {sample}\n'
YOUTH, RULE, OTHER = "youth", "written", "other"
NEEDS = {
    YOUTH: MODEL_NEED + LIST.format(sample=12),
    OTHER: MODEL_NEED.replace("workers = 2", "workers = 1") + LIST.format(sample=0),
    RULE: RULE_NEED + LIST.format(sample=0),
}
TITLES = {YOUTH: "Young people", OTHER: "Other young people", RULE: "By a written rule"}
assert HEAD.count('en = "Young people"') == 1


def week_world(folder, needs=(YOUTH, OTHER, RULE), *, blocked=()):
    """Worlds by need id, in one home with one city, approved; of those ``blocked``, the verdict has run out since."""
    worlds = {}
    first = None
    for need_id in needs:
        text = NEEDS[need_id].replace('en = "Young people"', f'en = "{TITLES[need_id]}"')
        shared = {} if first is None else {"shared_home": first.home, "shared_city": first.city}
        world = World(folder, need_text=text, need_id=need_id, units=True, **shared)
        world.city  # noqa: B018 written by being opened
        if first is None:
            first = world
            world.groups._frame.write_parquet(folder / "city" / "groups.parquet")
        (folder / f"{need_id}.toml").write_text(text)
        world.approve()
        worlds[need_id] = world
    # What is drawn at random once, and then kept: every copy of the home shares it.
    first.home.store.refer(first.city.persons["person_id"].to_list())
    for world in worlds.values():
        world.scorer  # noqa: B018 its secret
    first.home.settings.secret("contention")
    return worlds
