"""Roles: everything that knows what a Product Owner (or another role) is lives in one folder below this one."""
