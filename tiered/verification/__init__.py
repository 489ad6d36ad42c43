"""Comparing every cache tier with the store of record, and mending what differs (`verify`, `repair`)."""
