"""Tilted cells: dynamic programmes over the relay schedules of rooms with neighbours."""
