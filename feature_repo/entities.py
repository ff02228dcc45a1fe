"""What are features about? A household, its visit, a product, its category, and one maker's range in one category."""

from feast import Entity, ValueType

user = Entity(
    name="user",
    join_keys=["user_id"],
    value_type=ValueType.STRING,
    description="A household: the unit that is served and analysed",
)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING, description="A product of the catalogue")
line = Entity(
    name="line",
    join_keys=["line_id"],
    value_type=ValueType.STRING,
    description="One maker's range in one category; every product belongs to one",
)
session = Entity(
    name="session",
    join_keys=["session_id"],
    value_type=ValueType.STRING,
    description="A visit of the shop's pages, from its first page to its last",
)
category = Entity(
    name="category",
    join_keys=["item_category"],
    value_type=ValueType.STRING,
    description="A product's category",
)
