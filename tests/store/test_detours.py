"""What one trip to the store can't answer takes detours: as many as the call may need."""

from canuse import v1
from canuse_server.api.answers import answer
from canuse_server.api.bounds import MAX_CHARGES
from canuse_server.api.user_changes import create_user
from canuse_server.api.uses import UseFeatures
from canuse_server.api.world import World
from canuse_server.domain.model import Feature, FeatureType, Profile


async def test_features_that_are_not_in_memory_are_looked_up_though_a_call_names_as_many_as_it_can(
    world: World,
) -> None:
    """Another server had made them a moment ago. After ten of them the call gave up with STORE_UNAVAILABLE."""
    ids = [f"f{number}" for number in range(MAX_CHARGES)]
    for feature_id in ids:
        await world.catalog.put_feature(None, Feature(feature_id, FeatureType.CONSUMABLE, 1))
    await create_user(world, "124", Profile(), disabled=False)
    charges = [v1.Charge(feature_id=feature_id) for feature_id in ids]
    request = v1.UseFeaturesRequest(user_id="124", charges=charges)
    assert world.cache.features == {}
    response = v1.UseFeaturesResponse.FromString(await answer(UseFeatures(), request.SerializeToString(), world))
    assert (response.reason, response.blocking_feature_id) == (v1.REASON_NOT_ENTITLED, ids[0])
    assert len(response.consumptions) == MAX_CHARGES
