"""Approval and rejection of sessions in gyms that require approval."""
