"""Which columns does each family of models read?"""

from feast import FeatureService
from request_time import affinity, cadence, response, retrieval_covisit, rhythm
from views import (
    item_weekly,
    user_campaign,
    user_category,
    user_item,
    user_line,
    user_profile,
    user_weekly,
)

# In a list, for Feast would take a selection at module level for a second view of the same name.
_USER_AND_ITEM = [
    user_weekly[["user_baskets_28d", "user_baskets_91d", "user_lines_28d", "user_lines_91d", "user_value_91d"]],
    item_weekly[
        [
            "item_baskets_7d",
            "item_baskets_28d",
            "item_baskets_91d",
            "item_buyers_91d",
            "item_returning_share_91d",
            "item_gap_days_91d",
            "item_price_91d",
            "item_department",
        ]
    ],
]

basket_frequency = FeatureService(
    name="basket_frequency",
    features=[user_item[["pair_baskets"]]],
    description="How often a household has bought a product",
)
basket_flat = FeatureService(
    name="basket_flat",
    features=_USER_AND_ITEM,
    description="Households and products apart; nothing that ties the two together",
)
basket_full = FeatureService(
    name="basket_full",
    features=[
        *_USER_AND_ITEM,
        user_item[["pair_baskets", "pair_weeks", "pair_quantity"]],
        user_line[["line_baskets", "line_weeks", "line_quantity"]],
        rhythm,
    ],
    description="Households, products, their history together, and where they stand in it at the request",
)
coupon_campaign = FeatureService(
    name="coupon_campaign",
    features=[
        user_weekly[
            [
                "user_baskets_28d",
                "user_baskets_91d",
                "user_baskets",
                "user_lines_28d",
                "user_lines_91d",
                "user_value_91d",
            ]
        ],
        user_campaign[
            [
                "campaign_mailed",
                "campaign_mailed_91d",
                "campaign_coupons",
                "campaign_coupons_91d",
                "campaign_redeemed",
            ]
        ],
        user_profile,
        response,
    ],
    description="How a household shops, what it was mailed and redeemed, and who it is",
)
basket_cadence = FeatureService(
    name="basket_cadence",
    features=[
        user_weekly[
            [
                "user_baskets_28d",
                "user_baskets_91d",
                "user_lines_7d",
                "user_lines_28d",
                "user_lines_91d",
                "user_value_91d",
                "user_weeks_28d",
                "user_weeks_91d",
                "user_returning_share_91d",
            ]
        ],
        item_weekly[
            [
                "item_baskets_7d",
                "item_baskets_28d",
                "item_baskets_91d",
                "item_buyers",
                "item_buyers_91d",
                "item_returning_share_91d",
                "item_gap_days_91d",
                "item_price_91d",
                "item_department",
            ]
        ],
        user_item[["pair_baskets", "pair_weeks", "pair_quantity"]],
        user_line[["line_baskets", "line_weeks", "line_quantity"]],
        user_category[["category_baskets", "category_weeks", "category_quantity"]],
        rhythm,
        cadence,
        affinity,
        retrieval_covisit,
    ],
    description="Households, products and their histories week by week, with those of line and category",
)
discover = FeatureService(
    name="discover",
    features=[
        user_weekly[
            [
                "user_baskets_28d",
                "user_baskets_91d",
                "user_lines_28d",
                "user_lines_91d",
                "user_value_91d",
                "user_returning_share_91d",
            ]
        ],
        item_weekly[
            [
                "item_baskets_7d",
                "item_baskets_28d",
                "item_baskets_91d",
                "item_buyers",
                "item_buyers_91d",
                "item_returning_share_91d",
                "item_price_91d",
                "item_department",
            ]
        ],
        user_line[["line_baskets", "line_weeks", "line_quantity"]],
        user_category[["category_baskets", "category_weeks", "category_quantity"]],
        rhythm[
            [
                "user_days_since",
                "item_trend",
                "line_days_since",
                "line_overdue",
                "line_decay_28d",
                "line_decay_90d",
                "line_share",
            ]
        ],
        affinity[
            [
                "category_days_since",
                "category_overdue",
                "category_decay_28d",
                "category_decay_90d",
                "category_share",
                "line_rate",
                "category_rate",
                "item_trend_91d",
                "item_price_change",
                "user_overdue",
            ]
        ],
        retrieval_covisit,
    ],
    description="Households, products, and what a household buys of a product's line and category, not of itself",
)
