from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations
from uuid import UUID

from services.communication.mail_template import TEMPLATES, Templates
from services.communication.preferences.domain import Category, Preferences
from services.communication.preferences.wire import render_preferences
from solo60.communication.v1.communication_pb2 import NotificationPreferences

NOW = datetime(2026, 3, 3, 18, tzinfo=UTC)
ADA = UUID(int=1)
SWITCHABLE = [category for category in Category if category.is_switchable]


def test_only_reminders_and_the_waiting_list_can_be_switched_off() -> None:
    """Mail about bookings, payments and the security of an account cannot be switched off."""
    assert SWITCHABLE == [Category.REMINDERS, Category.WAITING_LIST]


def test_each_switchable_category_is_a_field_of_the_contract() -> None:
    """The contract has one boolean for each category that can be switched off, and no other."""
    fields = {field.name for field in NotificationPreferences.DESCRIPTOR.fields if field.type == field.TYPE_BOOL}

    assert fields == set(SWITCHABLE)


def test_the_categories_of_the_templates() -> None:
    """Reminders and mails to the waiting list are the only mails that can be switched off."""
    switchable = {
        template.key: template.settings.category
        for template in Templates(TEMPLATES)
        if template.settings.category.is_switchable
    }

    assert switchable == {
        "RENEWAL_REMINDER": Category.REMINDERS,
        "SPOT_AVAILABLE": Category.WAITING_LIST,
        "TRIAL_ENDING": Category.REMINDERS,
    }


def test_a_change_leaves_other_categories_alone() -> None:
    """Switching one category on or off does not change the other ones."""
    off = Preferences(ADA).with_changes({Category.REMINDERS: False}, NOW)
    both = off.with_changes({Category.WAITING_LIST: False}, NOW)
    on = both.with_changes({Category.REMINDERS: True}, NOW)

    assert off == Preferences(ADA, frozenset({Category.REMINDERS}), NOW)
    assert both.switched_off == set(SWITCHABLE)
    assert on.switched_off == {Category.WAITING_LIST}


def test_the_etag_identifies_the_preferences() -> None:
    """Different preferences have different etags. Equal preferences have equal etags, whenever they were changed."""
    all_choices = [frozenset(chosen) for size in range(3) for chosen in combinations(SWITCHABLE, size)]

    assert len({render_preferences(Preferences(ADA, chosen)).etag for chosen in all_choices}) == len(all_choices)
    assert render_preferences(Preferences(ADA, update_time=NOW)).etag == render_preferences(Preferences(ADA)).etag
