"""Conversion between protobuf messages and notification preferences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.data.etags import etag_of
from services.communication.preferences.domain import Category
from solo60.communication.v1 import communication_pb2 as pb

if TYPE_CHECKING:
    from services.communication.preferences.domain import Preferences


def parse_changes(request: pb.UpdateNotificationPreferencesRequest) -> dict[Category, bool]:
    """Return the new value of each category in the mask."""
    wanted = {
        Category.REMINDERS: request.preferences.reminders,
        Category.WAITING_LIST: request.preferences.waiting_list,
    }
    return {Category(path): wanted[Category(path)] for path in request.update_mask.paths}


def render_preferences(preferences: Preferences) -> pb.NotificationPreferences:
    """Convert preferences to their protobuf message."""
    rendered = pb.NotificationPreferences(
        user_id=str(preferences.user_id),
        reminders=Category.REMINDERS not in preferences.switched_off,
        waiting_list=Category.WAITING_LIST not in preferences.switched_off,
    )
    # Without the time: preferences that were changed and changed back are the ones that the caller has read.
    rendered.etag = etag_of(rendered)
    if preferences.update_time is not None:
        rendered.update_time.FromDatetime(preferences.update_time)
    return rendered
