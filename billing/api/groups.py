"""Groups over HTTP: names under which prices or features are shown together (api.md 4.21)."""

from collections.abc import Mapping, Sequence

from billing.api.listing import Listing, expanded, page_of, query_for, said
from billing.api.reading import read
from billing.api.records import record_members
from billing.api.routing import Built, Call
from billing.api.wire import Answer, shown
from billing.use_cases.found import subject
from billing.use_cases.groups import create_group, delete_group, members_of
from schemas.api.answers.groups import GroupResponse, ListGroupsResponse
from schemas.api.requests.groups import CreateGroupRequest, GroupFilter
from schemas.group import Group, GroupEntityType, GroupId
from schemas.scope import Scope
from schemas.stored import Stored

GROUPS = Listing(
    Group, {name: name for name in ("name", "lookup_key", "entity_type")}, expands=frozenset()
)


def group_answer(stored: Stored[Group], members: Sequence[str], scope: Scope) -> GroupResponse:
    """Return a group as answers show it, with the ids of its members."""
    group = stored.record
    return GroupResponse(
        **record_members(stored, scope),
        name=group.name,
        lookup_key=group.lookup_key,
        entity_type=group.entity_type.value,
        entity_ids=list(members),
        metadata=dict(group.metadata),
    )


def add_group(call: Call) -> Answer:
    """Create a group, which has no members yet."""
    asked = read(CreateGroupRequest, call.json)
    kept = call.environment
    group = Group(
        GroupId(kept.new_id("group")),
        asked.name,
        GroupEntityType(asked.entity_type),
        asked.lookup_key,
    )
    stored = create_group(kept.objects, group, at=call.services.clock(), by=call.caller)
    return shown(group_answer(stored, (), call.scope), 201)


def read_group(call: Call) -> Answer:
    """Show one group."""
    wanted = call.parameters["id"]
    with call.environment.objects.reading() as objects:
        stored = subject(objects.groups, wanted, "group")
        members = members_of(objects, [wanted])
    return shown(group_answer(stored, members[wanted], call.scope))


def search_groups(call: Call) -> Answer:
    """Show a page of groups."""
    asked = read(GroupFilter, call.json)
    expanded(asked.expand, GROUPS.expands)
    wanted = said(
        {
            "id": asked.group_ids,
            "entity_type": asked.entity_type,
            "lookup_key": asked.lookup_key,
            "name": asked.name,
        }
    )
    with call.environment.objects.reading() as objects:
        page = objects.groups.page(query_for(asked, GROUPS, wanted))
        members = members_of(objects, [each.record.id for each in page.rows])
    scope = call.scope
    return page_of(
        page.rows,
        page.total,
        asked,
        lambda each: group_answer(each, members[each.record.id], scope),
    )


def remove_group(call: Call) -> Answer:
    """Delete a group; its members stay, in none."""
    delete_group(
        call.environment.objects,
        call.parameters["id"],
        scope=call.scope,
        at=call.services.clock(),
        by=call.caller,
    )
    return Answer(204, b"")


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/groups"): Built(add_group, takes=CreateGroupRequest, gives=GroupResponse),
    ("POST", "/v1/groups/search"): Built(
        search_groups, takes=GroupFilter, gives=ListGroupsResponse
    ),
    ("GET", "/v1/groups/{id}"): Built(read_group, gives=GroupResponse),
    ("DELETE", "/v1/groups/{id}"): Built(remove_group),
}
